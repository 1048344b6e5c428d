// The exec op: one process in a container on a writable mount of its root snapshot.
import { createHash } from 'node:crypto';
import path from 'node:path';
import { MountType, NetMode, SecurityMode, defaultPath, pb } from '../llb/index.js';
import { failureText } from '../runtime/index.js';
import type { BuildSession } from '../session/index.js';
import { isCanceled, type CacheMap, type InputKey, type Op, type OpContext, type Result } from '../solver/index.js';
import { contentKey } from './content.js';
import { watchingDisks } from './fetch-report.js';
import { MissingMountSource, PreparedMounts } from './mounts.js';
import { StepError } from './step-error.js';
import { prepareRoot } from './prepare-root.js';
import { StepLog } from './step-log.js';
import type { Worker } from './worker.js';

interface Platform {
	readonly os: string;
	readonly architecture: string;
	readonly variant?: string;
}

export class ExecOp implements Op<BuildSession> {
	readonly weight = 1;

	constructor(
		private readonly worker: Worker,
		private readonly op: pb.ExecOp,
		private readonly inputCount: number,
		private readonly platform: Platform,
	) {
		if (!op.meta) throw new Error('exec without a process');
		if (op.meta.args.length === 0) throw new Error('no args specified');
		if (!op.mounts.some((mount) => mount.dest === '/')) throw new Error('no root mount');
		for (const mount of op.mounts) {
			if (mount.input < -1 || mount.input >= inputCount) throw new Error(`invalid mountinput ${mount.input}`);
		}
		if (!networks[op.network]) throw new Error(`network mode ${NetMode[op.network] ?? op.network} is not supported by obd`);
		if (op.security !== SecurityMode.SANDBOX && op.security !== SecurityMode.INSECURE) throw new Error(`invalid security mode ${op.security as number}`);
		if (op.cdiDevices.length > 0) throw new Error('devices (RUN --device) are not supported by obd');
	}

	cacheMap(): Promise<CacheMap> {
		return Promise.resolve({
			digest: this.#digest(),
			inputs: Array.from({ length: this.inputCount }, (_, i) => this.#inputKey(i)),
		});
	}

	/** Of what is done, whatever it is done on. */
	#digest(): string {
		const { os, architecture, variant } = this.platform;
		const sum = createHash('sha256').update('obd.exec.v1').update(pb.ExecOp.encode(keyed(this.op)).finish());
		return `sha256:${sum.update(JSON.stringify([os, architecture, variant ?? ''])).digest('hex')}`;
	}

	/** A read-only or thrown-away bind counts by its content; what becomes an output counts as a whole. */
	#inputKey(input: number): InputKey {
		const mounts = this.op.mounts.filter((mount) => mount.input === input && (mount.mountType === MountType.BIND || mount.mountType === MountType.CACHE));
		const selectors = mounts.map((mount) => path.posix.resolve('/', mount.selector));
		if (mounts.length === 0) return {};
		if (!mounts.every((mount) => keyedByContent(mount))) return { selector: selectors.join('\0') };
		return contentKey(this.worker, [...new Set(selectors)].map((selected) => ({ path: selected, followLinks: true })));
	}

	prepare(inputs: readonly Result[]): Promise<void> {
		return prepareRoot(this.worker, inputs[this.op.mounts.find((mount) => mount.dest === '/')?.input ?? -1], this.#digest());
	}

	async run(context: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		const { meta } = this.op;
		if (!meta) throw new Error('exec without a process');
		const prepared = new PreparedMounts(this.worker, inputs, context, this.#digest());
		const log = new StepLog(context.reporter);
		try {
			await prepared.prepare(this.op.mounts, meta.cwd);
			await watchingDisks(prepared.root.mount, prepared.otherDisks, context, async (signal) => this.worker.runtime.run({
				rootfs: prepared.root.mount.root,
				readonlyRootfs: prepared.root.readonly,
				args: meta.args,
				env: await this.#env(context.session),
				cwd: meta.cwd,
				user: meta.user,
				hostname: meta.hostname,
				mounts: prepared.mounts,
				network: networks[this.op.network] ?? 'default',
				security: this.op.security === SecurityMode.INSECURE ? 'insecure' : 'sandbox',
				extraHosts: meta.extraHosts.map(({ Host, IP }) => ({ host: Host, ip: IP })),
				ulimits: meta.ulimit.map(({ Name, Soft, Hard }) => ({ name: Name, soft: Number(Soft), hard: Number(Hard) })),
				cgroupParent: meta.cgroupParent,
				removeMountStubsRecursive: meta.removeMountStubsRecursive,
				validExitCodes: meta.validExitCodes,
				signal,
				onOutput: (stream, data) => { log.write(stream, data); },
			}));
			return await prepared.commit();
		} catch (error) {
			log.flush();
			// BuildKit finds this out when the process is to be started.
			const cause = error instanceof MissingMountSource ? new Error(failureText(meta.args, error.message), { cause: error }) : error;
			if (context.signal.aborted || isCanceled(error)) throw cause;
			const { written, ...left } = prepared.leftovers(this.op.mounts);
			for (const mount of written) context.leave(mount);
			throw new StepError(cause, left);
		} finally {
			await prepared.close();
		}
	}

	async #env(session: BuildSession): Promise<string[]> {
		const env = [...(this.op.meta?.env ?? []), ...proxyEnv(this.op.meta?.proxyEnv)];
		if (!env.some((entry) => entry.startsWith('PATH='))) env.push(`PATH=${defaultPath}`);
		return [...env, ...await secretEnv(this.op.secretenv, session)];
	}
}

/** Environment variables with the client's secrets. */
export async function secretEnv(wanted: readonly pb.SecretEnv[], session: BuildSession): Promise<string[]> {
	const env: string[] = [];
	for (const { ID, name, optional } of wanted) {
		if (ID === '') throw new Error(`secret ID missing for "${name}" environment variable`);
		const data = await session.secret(ID);
		if (!data && !optional) throw new Error(`secret ${ID}: not found`);
		env.push(`${name}=${data ? Buffer.from(data).toString('utf8') : ''}`);
	}
	return env;
}

/** As the runtime calls them. */
export const networks: Partial<Record<NetMode, 'default' | 'host' | 'none'>> = {
	[NetMode.UNSET]: 'default',
	[NetMode.HOST]: 'host',
	[NetMode.NONE]: 'none',
};

/** The op as it enters the cache key: without what does not change the result (as BuildKit leaves it out). */
function keyed(op: pb.ExecOp): pb.ExecOp {
	const meta = op.meta && { ...op.meta, proxyEnv: undefined, extraHosts: op.meta.extraHosts.map((host) => ({ ...host, IP: '' })) };
	const mounts = op.mounts.map((mount) => ({ ...mount, selector: '', cacheOpt: keyedCache(mount) }));
	const [only] = mounts;
	const plainRoot = mounts.length === 1 && only?.dest === '/' && !only.readonly && only.mountType === MountType.BIND;
	return { ...op, meta, mounts: plainRoot ? [] : mounts };
}

/** Which cache directory is used changes nothing but when the user chose a namespace of their own. */
function keyedCache(mount: pb.Mount): pb.Mount['cacheOpt'] {
	const { cacheOpt } = mount;
	if (!cacheOpt || cacheOpt.sharing !== 0) return cacheOpt && { ...cacheOpt, ID: '', sharing: 0 };
	const slash = cacheOpt.ID.indexOf('/');
	const isDefault = cacheOpt.ID === mount.dest || (slash >= 0 && cacheOpt.ID.slice(slash + 1) === mount.dest);
	return isDefault ? cacheOpt : { ...cacheOpt, ID: '' };
}

function keyedByContent(mount: pb.Mount): boolean {
	const safe = mount.output === -1 || mount.readonly || path.posix.resolve('/', mount.selector) === '/';
	if (mount.contentCache === pb.MountContentCache.OFF) return false;
	if (mount.contentCache === pb.MountContentCache.ON) {
		if (!safe) throw new Error(`invalid mount cache content of ${mount.dest}`);
		return true;
	}
	return safe && mount.dest !== '/';
}

function proxyEnv(proxy: pb.ProxyEnv | undefined): string[] {
	if (!proxy) return [];
	const all: readonly (readonly [string, string])[] = [
		['HTTP_PROXY', proxy.httpProxy],
		['HTTPS_PROXY', proxy.httpsProxy],
		['FTP_PROXY', proxy.ftpProxy],
		['NO_PROXY', proxy.noProxy],
		['ALL_PROXY', proxy.allProxy],
	];
	return all.filter(([, value]) => value !== '').flatMap(([name, value]) => [`${name}=${value}`, `${name.toLowerCase()}=${value}`]);
}
