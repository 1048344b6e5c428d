// The flags of obd-buildd: buildkitd's. What of them obd does not do is in `refused` (an error: a build would
// not get what it was promised) and `ignored` (a note in the log: it makes no difference here).
import type { Flag } from '../build/flag-set.js';
import { defaultConfigFile } from '../config-file.js';
import { deviceChoices } from '../device-choice.js';
import { defaultRoot } from '../default-root.js';

export const daemonFlags: readonly Flag[] = [
	{ name: 'config', kind: 'string', default: defaultConfigFile, help: 'path to config file' },
	{ name: 'debug', kind: 'bool', help: 'enable debug output in logs' },
	{ name: 'trace', kind: 'bool', help: 'enable trace output in logs', hidden: true },
	{ name: 'root', kind: 'string', default: defaultRoot, help: 'path to state directory' },
	{ name: 'compression', kind: 'string', default: 'overlaybd', help: 'compression of image layers where a client asks for none: overlaybd, gzip, zstd or uncompressed' },
	{ name: 'block-cache-size', kind: 'string', type: 'bytes', default: '4g', help: 'limit of fetched blocks of lazy base images on disk, those in use excepted' },
	{ name: 'fetch-timeout', kind: 'string', type: 'duration', default: '60s', help: 'time without data from a registry after which a read of a lazy base image fails' },
	{ name: 'verify', kind: 'bool', help: 'read lazy base images whole, and compare them with their digests, before building on them' },
	{ name: 'device', kind: 'string', default: 'auto', choices: deviceChoices, help: 'how the kernel reaches the disks, as in obd-build' },
	{ name: 'addr', kind: 'list', default: 'unix:///run/buildkit/buildkitd.sock', help: 'listening address (socket or tcp)' },
	{ name: 'log-format', kind: 'string', default: 'text', help: 'log formatter: json or text' },
	{ name: 'log-level', kind: 'string', default: 'info', help: 'set the log level' },
	{ name: 'group', kind: 'string', help: 'group (name or gid) which will own all Unix socket listening addresses' },
	{ name: 'tlscert', kind: 'string', help: 'certificate file to use' },
	{ name: 'tlskey', kind: 'string', help: 'key file to use' },
	{ name: 'tlscacert', kind: 'string', help: 'ca certificate to verify clients' },
	{ name: 'allow-insecure-entitlement', kind: 'list', help: 'allows insecure entitlements e.g. network.host, security.insecure' },
	{ name: 'oci-worker', kind: 'string', default: 'auto', help: 'enable oci workers (true/false/auto)' },
	{ name: 'oci-worker-labels', kind: 'list', help: 'user-specific annotation labels (com.example.foo=bar)' },
	{ name: 'oci-worker-platform', kind: 'list', help: 'override supported platforms for worker' },
	{ name: 'oci-worker-net', kind: 'string', default: 'auto', help: 'worker network type (auto or host)' },
	{ name: 'oci-worker-gc', kind: 'bool', default: 'true', help: 'enable automatic garbage collection on worker' },
	{ name: 'oci-worker-gc-keepstorage', kind: 'string', help: 'amount of storage GC keep locally, format "Reserved[,Free[,Maximum]]" (MB)' },
	{ name: 'oci-max-parallelism', kind: 'string', default: '0', help: 'limit the number of parallel build steps that can run at the same time' },
	{ name: 'version', short: 'v', kind: 'bool', help: 'print the version' },
	{ name: 'help', short: 'h', kind: 'bool', help: 'show help' },
	...hidden('bool', ['rootless', 'proxy-network', 'save-cache-debug', 'cdi-disabled', 'oci-worker-selinux', 'oci-worker-rootless', 'oci-worker-no-process-sandbox',
		'containerd-worker-selinux', 'containerd-worker-rootless', 'containerd-worker-gc']),
	...hidden('list', ['cdi-spec-dir', 'containerd-worker-labels', 'containerd-worker-platform']),
	...hidden('string', ['debugaddr', 'otel-socket-path', 'oci-worker-snapshotter', 'oci-worker-proxy-snapshotter-path', 'oci-cni-config-path', 'oci-cni-binary-dir',
		'oci-cni-pool-size', 'oci-worker-binary', 'oci-worker-apparmor-profile', 'containerd-worker', 'containerd-worker-addr', 'containerd-worker-net',
		'containerd-cni-config-path', 'containerd-cni-binary-dir', 'containerd-cni-pool-size', 'containerd-worker-snapshotter', 'containerd-worker-apparmor-profile',
		'containerd-max-parallelism', 'containerd-worker-gc-keepstorage']),
];

function hidden(kind: Flag['kind'], names: readonly string[]): Flag[] {
	return names.map((name) => ({ name, kind, help: '', hidden: true }));
}

/** What obd cannot do, by flag; a value that asks for nothing is none of it. */
export const refused: Readonly<Record<string, string>> = {
	rootless: 'obd mounts block devices, which takes root',
	'oci-worker-rootless': 'obd mounts block devices, which takes root',
	'proxy-network': 'obd has no proxy network',
	'oci-worker-selinux': 'obd sets no SELinux labels',
	'oci-worker-no-process-sandbox': 'obd always gives a step its own process namespace',
	'oci-worker-apparmor-profile': 'obd sets no AppArmor profiles',
	'oci-worker-binary': 'obd runs the runc on the PATH',
	'oci-worker-proxy-snapshotter-path': 'obd has its own snapshots',
};

/** Flags without a meaning here, which harm nobody. */
export const ignored: readonly string[] = [
	'save-cache-debug', 'cdi-disabled', 'cdi-spec-dir', 'debugaddr', 'otel-socket-path', 'oci-worker-snapshotter', 'oci-cni-config-path', 'oci-cni-binary-dir', 'oci-cni-pool-size',
	...daemonFlags.map(({ name }) => name).filter((name) => name.startsWith('containerd-')),
];
