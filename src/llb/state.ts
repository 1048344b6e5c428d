// A file system still to be built, and what a process started in it would see. Immutable: every operation
// gives a new State; nothing runs before the whole is marshalled and solved.
import type { Constraints } from './constraints.js';
import type { ExecOptions, ExecResult } from './exec.js';
import { exec } from './exec.js';
import type { FileActions } from './fileop.js';
import { fileOp } from './fileop.js';
import type { HostIP, NetMode, SecurityMode, Ulimit } from './gen/ops.js';
import { joinPath } from './path.js';
import type { Platform } from './platform.js';
import { normalizePlatform } from './platform.js';
import type { Output } from './vertex.js';

/** How processes are run in a state. Not part of the file system. */
export interface ProcessMeta {
	/** In the order of their last assignment. */
	readonly env: ReadonlyMap<string, string>;
	readonly dir: string;
	readonly user: string;
	readonly hostname: string;
	readonly network: NetMode;
	readonly security: SecurityMode;
	readonly extraHosts: readonly HostIP[];
	readonly ulimits: readonly Ulimit[];
	readonly cgroupParent: string;
	readonly platform?: Platform;
}

const defaultMeta: ProcessMeta = {
	env: new Map(),
	dir: '/',
	user: '',
	hostname: '',
	network: 0,
	security: 0,
	extraHosts: [],
	ulimits: [],
	cgroupParent: '',
};

export class State {
	private constructor(
		/** undefined: scratch, the empty file system. */
		readonly output: Output | undefined,
		readonly meta: ProcessMeta,
	) {}

	/** The state at an output, nothing else known of it. */
	static from(output: Output | undefined): State {
		return new State(output, output?.platform ? { ...defaultMeta, platform: normalizePlatform(output.platform) } : defaultMeta);
	}

	/** Another file system, the same environment. */
	withOutput(output: Output | undefined): State {
		return new State(output, output?.platform ? { ...this.meta, platform: normalizePlatform(output.platform) } : this.meta);
	}

	withMeta(change: Partial<ProcessMeta>): State {
		return new State(this.output, { ...this.meta, ...change });
	}

	/** Sets variables; one set before moves to the end. */
	addEnv(entries: Iterable<readonly [string, string]>): State {
		const env = new Map(this.meta.env);
		for (const [key, value] of entries) {
			env.delete(key);
			env.set(key, value);
		}
		return this.withMeta({ env });
	}

	/** Changes the working directory, relative to the one before; an absolute one stays as it is written. */
	dir(path: string): State {
		return this.withMeta({ dir: path.startsWith('/') ? path : joinPath(this.meta.dir || '/', path) });
	}

	user(user: string): State {
		return this.withMeta({ user });
	}

	/** The platform processes run on, in its canonical spelling. */
	platform(platform: Platform): State {
		return this.withMeta({ platform: normalizePlatform(platform) });
	}

	/** Runs a process on this file system. */
	run(options: ExecOptions): ExecResult {
		return exec(this, options);
	}

	/** Applies file actions, as one vertex. */
	file(actions: FileActions, constraints: Constraints = {}): State {
		return fileOp(this, actions, constraints);
	}
}

/** The empty file system. */
export function scratch(): State {
	return State.from(undefined);
}
