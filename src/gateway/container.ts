// A container a frontend has asked for: its mounts, made when it is, and the processes it runs.
import { constants } from 'node:os';
import { defaultPathOf } from '../../frontend/index.js';
import { NetMode, pb, SecurityMode } from '../llb/index.js';
import type { FileEntry } from '../native/files.js';
import { networks, PreparedMounts, secretEnv, type LeftResult } from '../ops/index.js';
import type { ContainerProcess, ProcessSpec, RunningContainer } from '../runtime/index.js';
import { CanceledError, type Result } from '../solver/index.js';
import type { InitMessage, NewContainerRequest } from './gen/gateway.js';
import type { GatewayHost } from './host.js';
import { readDirIn, readFileIn, statFileIn, type FileRange } from './reference.js';

/** Files of one of a container's mounts. */
export interface MountFiles {
	readFile(path: string, range?: FileRange): Promise<Uint8Array>;
	readDir(path: string, includePattern?: string): Promise<readonly FileEntry[]>;
	statFile(path: string): Promise<FileEntry>;
}

/** How a process is connected to whoever asked for it. */
export type ProcessWiring = Required<Pick<ProcessSpec, 'onOutput' | 'onStart'>>;

export class GatewayContainer {
	readonly #abort = new AbortController();
	readonly #processes = new Set<Promise<void>>();
	/** The first process, once it is there. */
	#running: Promise<RunningContainer> | undefined;

	private constructor(
		private readonly host: GatewayHost,
		private readonly request: NewContainerRequest,
		private readonly prepared: PreparedMounts,
	) {}

	/** Prepares the mounts. @param refOf the ref of an id; throws when there is none */
	static async create(host: GatewayHost, request: NewContainerRequest, refOf: (id: string) => LeftResult | undefined): Promise<GatewayContainer> {
		if (request.Network === NetMode.HOST && !host.allow.includes('network.host')) throw new Error('network.host is not allowed');
		const inputs: Result[] = [];
		const mounts: pb.Mount[] = [];
		for (const mount of request.Mounts) {
			const ref = findRef(mount, refOf);
			mounts.push({ ...mount, input: ref ? inputs.push(await ref.result()) - 1 : -1, output: 0 });
		}
		const prepared = new PreparedMounts(host.worker, inputs, { signal: host.signal, session: host.session, key: request.ContainerID });
		try {
			await prepared.prepare(mounts, '/');
			return new GatewayContainer(host, request, prepared);
		} catch (error) {
			await prepared.close();
			throw error;
		}
	}

	/**
	 * Runs a process and waits for its end: the first one starts the container, others join it. Throws
	 * ExitError, or what keeps it from starting.
	 */
	async run(init: InitMessage, wiring: ProcessWiring): Promise<void> {
		const { session, allow } = this.host;
		const { Meta: meta = pb.Meta.create({}) } = init;
		if (init.Security !== SecurityMode.SANDBOX && init.Security !== SecurityMode.INSECURE) throw new Error(`invalid security mode ${init.Security as number}`);
		const security = init.Security === SecurityMode.INSECURE ? 'insecure' : 'sandbox';
		if (security === 'insecure' && !allow.includes('security.insecure')) throw new Error('security.insecure is not allowed');
		const secrets = await secretEnv(init.secretenv, session);
		const process: ProcessSpec = {
			...wiring,
			args: meta.args,
			env: [...withDefaults(meta.env, { PATH: defaultPathOf(this.request.platform?.OS ?? ''), ...(init.Tty && { TERM: 'xterm' }) }), ...secrets],
			cwd: meta.cwd || '/',
			user: meta.user,
			input: init.Tty ? 'terminal' : init.Fds.includes(0) ? 'pipe' : 'none',
			signal: this.#abort.signal,
		};
		this.#abort.signal.throwIfAborted();
		const running = this.#running ? this.#join(this.#running, process, security) : this.#start(process, security, meta.removeMountStubsRecursive);
		const settled = running.then(() => undefined, () => undefined);
		this.#processes.add(settled);
		try {
			await running;
		} finally {
			this.#processes.delete(settled);
		}
	}

	/** Files of a mount by its place in the request. */
	files(index: number): MountFiles {
		const mount = this.request.Mounts[index];
		if (!mount) throw new Error(`invalid mount index ${index}`);
		const root = this.prepared.sourceOf(mount.dest);
		if (root === undefined) throw new Error(`mount ${mount.dest} has no files`);
		return {
			readFile: (path, range) => readFileIn(root, path, range),
			readDir: (path, includePattern) => readDirIn(root, path, includePattern),
			statFile: (path) => statFileIn(root, path),
		};
	}

	/** Ends what runs and gives the mounts back. */
	async release(): Promise<void> {
		this.#abort.abort(new CanceledError());
		await Promise.all(this.#processes);
		await this.prepared.close();
	}

	async #join(running: Promise<RunningContainer>, process: ProcessSpec, security: 'insecure' | 'sandbox'): Promise<void> {
		return (await running).exec({ ...process, security });
	}

	#start({ onStart, ...process }: ProcessSpec, security: 'insecure' | 'sandbox', removeMountStubsRecursive: boolean): Promise<void> {
		const { request, prepared } = this;
		let started: (container: RunningContainer) => void = () => undefined;
		let failed: (error: unknown) => void = () => undefined;
		this.#running = new Promise((resolve, reject) => { [started, failed] = [resolve, reject]; });
		this.#running.catch(() => undefined); // nobody may have joined
		const run = this.host.worker.runtime.run({
			...process,
			rootfs: prepared.root.mount.root,
			readonlyRootfs: prepared.root.readonly,
			hostname: request.hostname,
			mounts: prepared.mounts,
			network: networks[request.Network] ?? 'default',
			security,
			extraHosts: request.extraHosts.map(({ Host, IP }) => ({ host: Host, ip: IP })),
			ulimits: [],
			removeMountStubsRecursive,
			onStart: (container) => {
				started(container);
				onStart?.(container);
			},
		});
		run.catch(failed);
		return run;
	}
}

function findRef(mount: pb.Mount, refOf: (id: string) => LeftResult | undefined): LeftResult | undefined {
	try {
		return refOf(mount.resultID);
	} catch (error) {
		throw new Error(`failed to find ref ${mount.resultID} for "${mount.dest}" mount: ${(error as Error).message}`, { cause: error });
	}
}

function withDefaults(env: readonly string[], defaults: Readonly<Record<string, string>>): string[] {
	const missing = Object.entries(defaults).filter(([name]) => !env.some((entry) => entry.startsWith(`${name}=`)));
	return [...env, ...missing.map(([name, value]) => `${name}=${value}`)];
}

/** Sends a signal by its name without SIG. Throws for one that does not exist. */
export function sendSignal(process: ContainerProcess, name: string): void {
	const signals: Readonly<Record<string, number>> = constants.signals;
	const number = signals[`SIG${name}`];
	if (number === undefined) throw new Error(`Unknown signal ${name}`);
	process.kill(number);
}
