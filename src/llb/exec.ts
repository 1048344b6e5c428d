// Running a process: one vertex with a root file system and any number of mounts.
import type { Constraints } from './constraints.js';
import type { Input } from './gen/ops.js';
import { CacheSharingOpt, Mount, MountContentCache, MountType, NetMode, SecurityMode } from './gen/ops.js';
import type { CDIDevice, ExecOp, ProxyEnv } from './gen/ops.js';
import { compareBytes } from './order.js';
import type { State } from './state.js';
import type { MarshalContext, Marshalled, Output, Vertex } from './vertex.js';
import { addInput, seal } from './vertex.js';

export const defaultPath = '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin';

export interface MountOptions {
	readonly target: string;
	/** Nothing for tmpfs, cache and empty mounts. */
	readonly source?: State;
	/** Sub path of the source. */
	readonly selector?: string;
	readonly readonly?: boolean;
	/** Writable for the run only: no output. */
	readonly noOutput?: boolean;
	readonly cache?: { readonly id: string; readonly sharing: 'shared' | 'private' | 'locked' };
	readonly tmpfs?: { readonly size?: number };
	readonly contentCache?: boolean;
}

export interface SecretOptions {
	readonly id: string;
	/** File it appears as. */
	readonly target?: string;
	/** Environment variable it appears as. */
	readonly env?: string;
	readonly mode?: number;
	readonly uid?: number;
	readonly gid?: number;
	readonly optional?: boolean;
}

export interface SshOptions {
	readonly id: string;
	/** Default: /run/buildkit/ssh_agent.N */
	readonly target?: string;
	readonly mode?: number;
	readonly uid?: number;
	readonly gid?: number;
	readonly optional?: boolean;
}

export interface ExecOptions extends Constraints {
	readonly args: readonly string[];
	readonly mounts?: readonly MountOptions[];
	readonly secrets?: readonly SecretOptions[];
	readonly ssh?: readonly SshOptions[];
	readonly proxyEnv?: Partial<ProxyEnv>;
	readonly readonlyRoot?: boolean;
	readonly cdiDevices?: readonly CDIDevice[];
	/** Exit codes that are no failure; default only 0. */
	readonly validExitCodes?: readonly number[];
	/** Environment of this run in place of the state's. */
	readonly env?: ReadonlyMap<string, string>;
	readonly network?: NetMode;
	readonly security?: SecurityMode;
}

export interface ExecResult {
	/** The root file system afterwards. */
	readonly root: State;
	/** A writable mount afterwards. @throws Error when nothing is mounted there or it leaves nothing. */
	mount(target: string): State;
}

const noProxy: ProxyEnv = { httpProxy: '', httpsProxy: '', ftpProxy: '', noProxy: '', allProxy: '' };

const sharing = { shared: CacheSharingOpt.SHARED, private: CacheSharingOpt.PRIVATE, locked: CacheSharingOpt.LOCKED };

function hasOutput(mount: MountOptions): boolean {
	return !mount.noOutput && !mount.readonly && !mount.cache && !mount.tmpfs;
}

/** Capabilities a daemon needs for the run. */
function execCaps(state: State, options: ExecOptions, mounts: readonly MountOptions[]): string[] {
	const caps = new Set(['exec.meta.base']);
	const { meta } = state;
	if (options.validExitCodes) caps.add('exec.validexitcode');
	if (meta.ulimits.length > 0) caps.add('exec.meta.ulimit');
	if (options.linuxResources) caps.add('exec.meta.linux.resources');
	if ((options.network ?? meta.network) !== NetMode.UNSET) caps.add('exec.meta.network');
	if ((options.security ?? meta.security) === SecurityMode.INSECURE) caps.add('exec.meta.security');
	if (options.proxyEnv) caps.add('exec.meta.proxyenv');
	for (const mount of mounts) {
		if (mount.selector) caps.add('exec.mount.selector');
		if (mount.contentCache !== undefined) caps.add('exec.mount.cache.content');
		if (mount.cache) {
			caps.add('exec.mount.cache').add('exec.mount.cache.sharing');
		} else if (mount.tmpfs) {
			caps.add('exec.mount.tmpfs');
			if (mount.tmpfs.size) caps.add('exec.mount.tmpfs.size');
		} else if (mount.source?.output) {
			caps.add('exec.mount.bind');
		}
	}
	if (options.secrets?.length) caps.add('exec.mount.secret');
	if (options.secrets?.some((secret) => secret.env !== undefined)) caps.add('exec.secretenv');
	if (options.ssh?.length) caps.add('exec.mount.ssh');
	if (options.cdiDevices?.length) caps.add('exec.meta.cdi');
	return [...caps];
}

function pbMount(mount: MountOptions, input: number, output: number): Mount {
	const message = Mount.create();
	message.input = input;
	message.dest = mount.target;
	message.readonly = mount.readonly ?? false;
	message.output = output;
	message.selector = mount.selector ?? '';
	if (mount.cache) {
		message.mountType = MountType.CACHE;
		message.cacheOpt = { ID: mount.cache.id, sharing: sharing[mount.cache.sharing] };
	}
	if (mount.tmpfs) {
		message.mountType = MountType.TMPFS;
		message.TmpfsOpt = { size: mount.tmpfs.size ?? 0 };
	}
	if (mount.contentCache !== undefined) message.contentCache = mount.contentCache ? MountContentCache.ON : MountContentCache.OFF;
	return message;
}

/** A mount of something only the client has. */
function clientMount(type: MountType, target: string): Mount {
	const message = Mount.create();
	message.input = -1;
	message.dest = target;
	message.mountType = type;
	return message;
}

class ExecVertex implements Vertex {
	/** Root included, in the order of their targets, which is that of their outputs. */
	readonly mounts: readonly MountOptions[];

	constructor(readonly state: State, readonly options: ExecOptions) {
		const root: MountOptions = { target: '/', source: state, readonly: options.readonlyRoot ?? false };
		this.mounts = [root, ...(options.mounts ?? [])].sort((a, b) => compareBytes(a.target, b.target));
	}

	inputs(): Output[] {
		return this.mounts.flatMap((mount) => mount.source?.output ?? []);
	}

	outputIndex(mount: MountOptions): number {
		return this.mounts.filter(hasOutput).indexOf(mount);
	}

	marshal(context: MarshalContext): Marshalled {
		const { meta } = this.state;
		const { options } = this;
		if (options.args.length === 0) throw new Error('arguments are required');
		const caps = execCaps(this.state, options, this.mounts);
		const platform = options.platform ?? meta.platform ?? context.platform;
		const ssh = (options.ssh ?? []).map((agent, i) => ({ ...agent, target: agent.target || `/run/buildkit/ssh_agent.${i}` }));
		const env = new Map(options.env ?? meta.env);
		if (ssh[0] && !env.has('SSH_AUTH_SOCK')) env.set('SSH_AUTH_SOCK', ssh[0].target);
		if (!context.caps || context.caps.has('exec.meta.setsdefaultpath')) caps.push('exec.meta.setsdefaultpath');
		else if (!env.has('PATH') && platform.os !== 'windows') env.set('PATH', defaultPath);

		const inputs: Input[] = [];
		const op: ExecOp = {
			meta: {
				args: [...options.args],
				env: [...env].map(([key, value]) => `${key}=${value}`),
				cwd: meta.dir,
				user: meta.user,
				hostname: meta.hostname,
				cgroupParent: meta.cgroupParent,
				removeMountStubsRecursive: true,
				validExitCodes: [...(options.validExitCodes ?? [])],
				extraHosts: [...meta.extraHosts],
				ulimit: [...meta.ulimits],
				proxyEnv: options.proxyEnv && { ...noProxy, ...options.proxyEnv },
			},
			network: options.network ?? meta.network,
			security: options.security ?? meta.security,
			cdiDevices: [...(options.cdiDevices ?? [])],
			mounts: [],
			secretenv: [],
		};
		for (const mount of this.mounts) {
			const source = mount.source?.output;
			if (source && mount.tmpfs) throw new Error('tmpfs mounts must use scratch');
			op.mounts.push(pbMount(mount, source ? addInput(inputs, source, context) : -1, this.outputIndex(mount)));
		}
		for (const secret of options.secrets ?? []) {
			if (secret.env !== undefined) op.secretenv.push({ ID: secret.id, name: secret.env, optional: secret.optional ?? false });
			if (secret.target === undefined) continue;
			const mount = clientMount(MountType.SECRET, secret.target);
			mount.secretOpt = { ID: secret.id, uid: secret.uid ?? 0, gid: secret.gid ?? 0, mode: secret.mode ?? 0o400, optional: secret.optional ?? false };
			op.mounts.push(mount);
		}
		for (const agent of ssh) {
			const mount = clientMount(MountType.SSH, agent.target);
			mount.SSHOpt = { ID: agent.id, uid: agent.uid ?? 0, gid: agent.gid ?? 0, mode: agent.mode ?? 0o600, optional: agent.optional ?? false };
			op.mounts.push(mount);
		}
		return seal({ $case: 'exec', exec: op }, inputs, options, platform, caps);
	}
}

/** Runs `options.args` in `state`. Marshalling throws when there is nothing to run. */
export function exec(state: State, options: ExecOptions): ExecResult {
	const vertex = new ExecVertex(state, options);
	const platform = options.platform ?? state.meta.platform;
	const output = (mount: MountOptions): Output => ({ vertex, index: vertex.outputIndex(mount), ...(platform ? { platform } : {}) });
	const after = (mount: MountOptions): State => {
		if (mount.readonly) return mount.source ?? state.withOutput(undefined);
		if (!hasOutput(mount)) throw new Error(`${mount.tmpfs ? 'tmpfs ' : ''}mount at ${mount.target} leaves nothing that can be used`);
		return (mount.source ?? state).withOutput(output(mount));
	};
	const find = (target: string): MountOptions => {
		const found = vertex.mounts.find((mount) => mount.target === target);
		if (!found) throw new Error(`nothing is mounted at ${target}`);
		return found;
	};
	return {
		get root() { return options.readonlyRoot ? state : state.withOutput(output(find('/'))); },
		mount: (target) => after(find(target)),
	};
}
