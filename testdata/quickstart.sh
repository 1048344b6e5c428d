#!/usr/bin/env bash
# npm run quickstart: from a fresh clone to an overlaybd image that runs straight from a registry.
# Idempotent: what is there already is used again. Everything it makes lies below $OBD_QUICKSTART
# (default /var/tmp/obd-quickstart); it needs root for mounts and containers and asks sudo for it.
set -euo pipefail
cd "$(dirname "$0")/.."

work=${OBD_QUICKSTART:-/var/tmp/obd-quickstart}
port=${OBD_QUICKSTART_PORT:-5000}
registry=127.0.0.1:$port
sudo=()
[ "$(id -u)" = 0 ] || sudo=(sudo --preserve-env=PATH)

# Names the part that begins, and remembers how long each one took.
parts=()
began=$SECONDS
part=
say() {
  [ -z "$part" ] || parts+=("$(printf '%5d s  %s' $((SECONDS - began)) "$part")")
  began=$SECONDS
  part=$*
  [ -z "$part" ] || printf '\n== %s\n' "$part"
}

say 'packages'
.ci/packages build run quickstart
if [ ! -d node_modules ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  echo 'Installing npm packages (npm ci)'
  npm ci --no-fund --no-audit
fi

say 'obd: the addon and the TypeScript'
npm run --silent build

say "registry on $registry"
mkdir -p "$work/registry"
if ! (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then
  cat >"$work/registry.yml" <<YML
version: 0.1
log: {level: error, accesslog: {disabled: true}}
storage: {filesystem: {rootdirectory: $work/registry}, delete: {enabled: true}}
http: {addr: "$registry"}
YML
  setsid docker-registry serve "$work/registry.yml" >"$work/registry.log" 2>&1 </dev/null &
  echo $! >"$work/registry.pid"
  for _ in $(seq 100); do (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null && break; sleep 0.05; done
  echo "started (pid $(cat "$work/registry.pid"), data and log in $work)"
else
  echo 'already there'
fi

say 'base image: debootstrap minbase, as an ordinary gzip OCI image'
"${sudo[@]}" node dist/test/helpers/base-image.js --work "$work" --ref "$registry/debian:minbase"

say 'obd-build testdata/quickstart'
"${sudo[@]}" node dist/bundle/bin/obd-build.cjs --root "$work/store" --build-arg "BASE=$registry/debian:minbase" \
  --tag "$registry/hello:latest" --push --metadata-file "$work/metadata.json" testdata/quickstart

say "obd-image run $registry/hello:latest (from the registry, with an empty cache)"
"${sudo[@]}" rm -rf "$work/run-store"
"${sudo[@]}" node dist/bundle/bin/obd-image.js --root "$work/run-store" run "$registry/hello:latest"

say ''
printf '\n== where the time went\n'
printf '%s\n' "${parts[@]}"
