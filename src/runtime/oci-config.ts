// The OCI runtime configuration (config.json) of a container: the same as BuildKit's OCI worker makes.
import { defaultCapabilities } from './capabilities.js';
import type { ContainerMount, ContainerSpec, ProcessSpec, Ulimit } from './container-spec.js';
import type { Device } from './devices.js';
import { defaultHostname } from './hosts.js';
import type { SeccompProfile } from './seccomp.js';
import type { ContainerUser } from './user.js';

/** What the machine and this builder instance put into a configuration. */
export interface HostPart {
	readonly user: ContainerUser;
	readonly ulimits: readonly Ulimit[];
	readonly resolvConf: string;
	readonly hosts: string;
	readonly cgroupsPath: string;
	/** cgroup v2: the container sees its own cgroup as the root. */
	readonly cgroupNamespace: boolean;
	/** For security mode `sandbox`; absent where the kernel has no seccomp. */
	readonly seccomp?: SeccompProfile;
	/** For security mode `insecure`. */
	readonly capabilities: readonly string[];
	readonly devices: readonly Device[];
}

interface OciMount {
	readonly destination: string;
	readonly type: string;
	readonly source: string;
	readonly options: readonly string[];
}

const maskedPaths = [
	'/proc/acpi', '/proc/asound', '/proc/kcore', '/proc/keys', '/proc/latency_stats', '/proc/timer_list', '/proc/timer_stats',
	'/proc/sched_debug', '/sys/firmware', '/sys/devices/virtual/powercap', '/proc/scsi',
];
const readonlyPaths = ['/proc/bus', '/proc/fs', '/proc/irq', '/proc/sys', '/proc/sysrq-trigger'];

/** The text of config.json. */
export function ociConfig(spec: ContainerSpec, host: HostPart): string {
	return withUnlimited(JSON.stringify(configuration(spec, host)));
}

/** Unlimited (-1) is 2^64-1 in the configuration, a number that JavaScript does not have. */
function withUnlimited(json: string): string {
	return json.replace(/"(soft|hard)":-1\b/g, '"$1":18446744073709551615');
}

function configuration(spec: ContainerSpec, host: HostPart): object {
	const insecure = spec.security === 'insecure';
	return {
		ociVersion: '1.0.2',
		root: { path: spec.rootfs, readonly: spec.readonlyRootfs === true },
		hostname: spec.hostname || defaultHostname,
		process: processConfiguration(spec, host),
		mounts: mounts(spec.mounts, host, insecure ? 'rw' : 'ro'),
		linux: {
			cgroupsPath: host.cgroupsPath,
			resources: {
				devices: insecure
					? [{ allow: true, type: 'c', access: 'rwm' }, { allow: true, type: 'b', access: 'rwm' }]
					: [{ allow: false, access: 'rwm' }],
			},
			namespaces: namespaces(spec, host).map((type) => ({ type })),
			...(insecure ? { devices: host.devices } : { maskedPaths, readonlyPaths, seccomp: host.seccomp }),
		},
	};
}

type ProcessPart = Pick<HostPart, 'user' | 'ulimits' | 'capabilities'>;

/** The text of a process's part alone: what `runc exec` takes. */
export function ociProcess(spec: ProcessSpec & Pick<ContainerSpec, 'security'>, host: ProcessPart): string {
	return withUnlimited(JSON.stringify(processConfiguration(spec, host)));
}

function processConfiguration(spec: Omit<ProcessSpec, 'onStart'> & Pick<ContainerSpec, 'security'>, host: ProcessPart): object {
	const insecure = spec.security === 'insecure';
	const granted = insecure ? [...new Set([...defaultCapabilities, ...host.capabilities])] : defaultCapabilities;
	return {
		terminal: spec.input === 'terminal',
		args: spec.args,
		env: dedupeEnv(spec.env),
		cwd: spec.cwd,
		user: host.user,
		capabilities: {
			bounding: granted,
			permitted: granted,
			effective: granted,
			...(insecure && { inheritable: host.capabilities, ambient: host.capabilities }),
		},
		rlimits: host.ulimits.map(({ name, soft, hard }) => ({ type: `RLIMIT_${name.toUpperCase()}`, soft, hard })),
		noNewPrivileges: false,
	};
}

function namespaces(spec: ContainerSpec, host: HostPart): string[] {
	const types = ['pid', 'ipc', 'uts', 'mount'];
	if (spec.network === 'none') types.push('network');
	if (host.cgroupNamespace) types.push('cgroup');
	return types;
}

/** The default mounts, then the caller's; a later mount takes the place of an earlier one on the same path. */
function mounts(wanted: readonly ContainerMount[], host: HostPart, access: 'ro' | 'rw'): readonly OciMount[] {
	const safe = ['nosuid', 'noexec', 'nodev'];
	const all: readonly OciMount[] = [
		{ destination: '/proc', type: 'proc', source: 'proc', options: safe },
		{ destination: '/dev', type: 'tmpfs', source: 'tmpfs', options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'] },
		{ destination: '/dev/pts', type: 'devpts', source: 'devpts', options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', 'gid=5'] },
		{ destination: '/dev/shm', type: 'tmpfs', source: 'shm', options: [...safe, 'mode=1777', 'size=65536k'] },
		{ destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: safe },
		{ destination: '/sys', type: 'sysfs', source: 'sysfs', options: [...safe, access] },
		{ destination: '/etc/resolv.conf', type: 'bind', source: host.resolvConf, options: [...safe, 'rbind', 'ro'] },
		{ destination: '/etc/hosts', type: 'bind', source: host.hosts, options: [...safe, 'rbind', 'ro'] },
		{ destination: '/sys/fs/cgroup', type: 'cgroup', source: 'cgroup', options: [access, ...safe] },
		...wanted,
	];
	return [...new Map(all.map((mount) => [mount.destination, mount])).values()];
}

/** The last value of a name, in the place of its first; an entry without `=` unsets the name. */
function dedupeEnv(env: readonly string[]): readonly string[] {
	const byName = new Map<string, string>();
	for (const entry of env) {
		const equals = entry.indexOf('=');
		if (equals < 0) byName.delete(entry);
		else byName.set(entry.slice(0, equals), entry);
	}
	return [...byName.values()];
}
