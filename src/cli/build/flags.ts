// The flags of obd-build: those of `docker buildx build`, with its words and defaults, then obd's own.
import { defaultConfigFile } from '../config-file.js';
import { defaultRoot } from '../default-root.js';
import { deviceChoices, deviceFlagHelp } from '../device-choice.js';
import type { Flag } from './flag-set.js';

export const buildFlags: readonly Flag[] = [
	{ name: 'add-host', kind: 'csv', type: 'strings', help: 'Add a custom host-to-IP mapping (format: "host:ip")' },
	{ name: 'allow', kind: 'list', help: 'Allow extra privileged entitlement (e.g., "network.host", "security.insecure")' },
	{ name: 'attest', kind: 'list', help: 'Attestation parameters (format: "type=sbom,generator=image")' },
	{ name: 'build-arg', kind: 'list', help: 'Set build-time variables' },
	{ name: 'build-context', kind: 'list', help: 'Additional build contexts (e.g., name=path)' },
	{ name: 'cache-from', kind: 'list', help: 'External cache sources (e.g., "user/app:cache", "type=local,src=path/to/dir")' },
	{ name: 'cache-to', kind: 'list', help: 'Cache export destinations (e.g., "user/app:cache", "type=local,dest=path/to/dir")' },
	{ name: 'call', kind: 'string', default: 'build', help: 'Set method for evaluating build ("check", "outline", "targets")' },
	{ name: 'cgroup-parent', kind: 'string', help: 'Set the parent cgroup for the "RUN" instructions during build' },
	{ name: 'check', kind: 'bool', help: 'Shorthand for "--call=check"' },
	{ name: 'compress', kind: 'bool', help: 'Compress the build context using gzip', hidden: true },
	{ name: 'file', short: 'f', kind: 'string', help: 'Name of the Dockerfile (default: "PATH/Dockerfile")' },
	{ name: 'force-rm', kind: 'bool', help: 'Always remove intermediate containers', hidden: true },
	{ name: 'help', short: 'h', kind: 'bool', help: 'Print usage', hidden: true },
	{ name: 'iidfile', kind: 'string', help: 'Write the image ID to a file' },
	{ name: 'label', kind: 'list', help: 'Set metadata for an image' },
	{ name: 'load', kind: 'bool', help: 'Shorthand for "--output=type=docker"' },
	{ name: 'metadata-file', kind: 'string', help: 'Write build result metadata to a file' },
	{ name: 'network', kind: 'string', default: 'default', help: 'Set the networking mode for the "RUN" instructions during build' },
	{ name: 'no-cache', kind: 'bool', help: 'Do not use cache when building the image' },
	{ name: 'no-cache-filter', kind: 'list', help: 'Do not cache specified stages' },
	{ name: 'output', short: 'o', kind: 'list', help: 'Output destination (format: "type=local,dest=path")' },
	{ name: 'platform', kind: 'list', help: 'Set target platform for build' },
	{ name: 'progress', kind: 'string', default: 'auto', help: 'Set type of progress output ("auto", "none", "plain", "quiet", "rawjson", "tty"). Use plain to show container output' },
	{ name: 'provenance', kind: 'string', help: 'Shorthand for "--attest=type=provenance"' },
	{ name: 'pull', kind: 'bool', help: 'Always attempt to pull all referenced images' },
	{ name: 'push', kind: 'bool', help: 'Shorthand for "--output=type=registry"' },
	{ name: 'quiet', short: 'q', kind: 'bool', help: 'Suppress the build output and print image ID on success' },
	{ name: 'rm', kind: 'bool', default: 'true', help: 'Remove intermediate containers after a successful build', hidden: true },
	{ name: 'sbom', kind: 'string', help: 'Shorthand for "--attest=type=sbom"' },
	{ name: 'secret', kind: 'list', help: 'Secret to expose to the build (format: "id=mysecret[,src=/local/secret]")' },
	{ name: 'shm-size', kind: 'string', type: 'bytes', help: 'Shared memory size for build containers' },
	{ name: 'ssh', kind: 'list', help: 'SSH agent socket or keys to expose to the build (format: "default|<id>[=<socket>|<key>[,<key>]]")' },
	{ name: 'tag', short: 't', kind: 'list', help: 'Image identifier (format: "[registry/]repository[:tag]")' },
	{ name: 'target', kind: 'string', help: 'Set the target build stage to build' },
	{ name: 'ulimit', kind: 'list', type: 'ulimit', help: 'Ulimit options' },
];

export const obdFlags: readonly Flag[] = [
	{ name: 'block-cache-size', kind: 'string', type: 'bytes', default: '4g', help: 'Limit of fetched blocks of lazy base images on disk, those in use excepted' },
	{ name: 'config', kind: 'string', default: defaultConfigFile, help: 'buildkitd.toml with registry mirrors and certificates, and the device' },
	{ name: 'explain-reads', kind: 'bool', help: 'Say which files the fetched blocks of lazy base images belong to' },
	{ name: 'fetch-timeout', kind: 'string', type: 'duration', default: '60s', help: 'Time without data from a registry after which a read of a lazy base image fails' },
	{ name: 'device', kind: 'string', default: 'auto', choices: deviceChoices, help: deviceFlagHelp },
	{ name: 'insecure-registry', kind: 'list', help: 'Registry that may be spoken to over plain http or without a valid certificate (format: "host[:port]")' },
	{ name: 'root', kind: 'string', default: defaultRoot, help: 'Directory of layers, cache and state' },
	{ name: 'verbose', short: 'v', kind: 'bool', help: 'With --version: which device servers this host can use, and what the others lack' },
	{ name: 'verify', kind: 'bool', help: 'Read lazy base images whole, and compare them with their digests, before building on them' },
	{ name: 'version', kind: 'bool', help: 'Print the version' },
];
