// File operations: any number of actions in a row, one vertex.
import type { Constraints } from './constraints.js';
import type { ChownOpt, FileAction, Input, UserOpt } from './gen/ops.js';
import { cleanPath, joinPath } from './path.js';
import type { State } from './state.js';
import type { MarshalContext, Marshalled, Output, Vertex } from './vertex.js';
import { addInput, seal } from './vertex.js';

/** A user or group, by number or by name as the file system's passwd and group know it. */
export type Owner = number | string;

export interface FileMeta {
	readonly owner?: { readonly user?: Owner; readonly group?: Owner };
	/** Nanoseconds since 1970; default the time of the action (copies: of the source). */
	readonly createdTime?: bigint;
}

export interface CopyOptions extends FileMeta {
	/** Permission bits, or a symbolic mode as in chmod(1). */
	readonly mode?: number | string;
	readonly followSymlinks?: boolean;
	readonly copyDirContentsOnly?: boolean;
	readonly includePatterns?: readonly string[];
	readonly excludePatterns?: readonly string[];
	readonly requiredPaths?: readonly string[];
	readonly attemptUnpack?: boolean;
	readonly createDestPath?: boolean;
	readonly allowWildcard?: boolean;
	readonly allowEmptyWildcard?: boolean;
	readonly alwaysReplaceExistingDestPaths?: boolean;
}

/** What an action becomes once it is known which input each state is and what directory it starts in. */
interface Encoder {
	readonly source?: State;
	readonly caps: readonly string[];
	encode(dir: string, base: number): FileAction['action'];
}

/** Reads `user[:group]`, numbers as numbers. */
export function parseOwner(text: string): { user?: Owner; group?: Owner } {
	const [user, group] = text.split(/:(.*)/s);
	const parse = (name: string): Owner => {
		if (name === 'root') return 0;
		return /^[+-]?\d+$/.test(name) && Math.abs(Number(name)) < 2 ** 31 ? Number(name) : name;
	};
	return { ...(user !== undefined ? { user: parse(user) } : {}), ...(group !== undefined ? { group: parse(group) } : {}) };
}

function pbOwner(owner: FileMeta['owner'], base: number): ChownOpt | undefined {
	if (!owner) return undefined;
	const one = (user: Owner | undefined): UserOpt | undefined => {
		if (user === undefined) return undefined;
		if (typeof user === 'string' && user !== '') return { user: { $case: 'byName', byName: { name: user, input: base } } };
		return { user: { $case: 'byID', byID: Number(user) >>> 0 } };
	};
	return { user: one(owner.user), group: one(owner.group) };
}

/** An absolute clean path; with `keepSlash` a final `/` or `/.` stays, which matters for destinations. */
function normalize(dir: string, path: string, keepSlash: boolean): string {
	const clean = cleanPath(path);
	const absolute = clean.startsWith('/') ? clean : joinPath('/', dir, clean);
	if (keepSlash && path.endsWith('/') && !absolute.endsWith('/')) return `${absolute}/`;
	if (keepSlash && path.endsWith('/.')) return `${absolute === '/' ? '' : absolute}/.`;
	return absolute;
}

/** Actions to be applied one after the other. Immutable. */
export class FileActions {
	constructor(readonly steps: readonly Encoder[] = []) {}

	private with(step: Encoder): FileActions {
		return new FileActions([...this.steps, step]);
	}

	mkdir(path: string, mode: number, options: FileMeta & { readonly makeParents?: boolean } = {}): FileActions {
		return this.with({
			caps: [],
			encode: (dir, base) => ({
				$case: 'mkdir',
				mkdir: {
					path: normalize(dir, path, false), mode: mode & 0o777, makeParents: options.makeParents ?? false,
					owner: pbOwner(options.owner, base), timestamp: options.createdTime ?? -1n,
				},
			}),
		});
	}

	mkfile(path: string, mode: number, data: Uint8Array, options: FileMeta = {}): FileActions {
		return this.with({
			caps: [],
			encode: (dir, base) => ({
				$case: 'mkfile',
				mkfile: {
					path: normalize(dir, path, false), mode: mode & 0o777, data,
					owner: pbOwner(options.owner, base), timestamp: options.createdTime ?? -1n,
				},
			}),
		});
	}

	/** Makes `path` a link that says `target`. */
	symlink(target: string, path: string, options: FileMeta = {}): FileActions {
		return this.with({
			caps: ['file.symlink.create'],
			encode: (_dir, base) => ({
				$case: 'symlink',
				symlink: { oldpath: target, newpath: path, owner: pbOwner(options.owner, base), timestamp: options.createdTime ?? -1n },
			}),
		});
	}

	rm(path: string, options: { readonly allowNotFound?: boolean; readonly allowWildcard?: boolean } = {}): FileActions {
		return this.with({
			caps: options.allowWildcard ? ['file.rm.wildcard'] : [],
			encode: (dir) => ({
				$case: 'rm',
				rm: { path: normalize(dir, path, false), allowNotFound: options.allowNotFound ?? false, allowWildcard: options.allowWildcard ?? false },
			}),
		});
	}

	/** Copies `src` of another file system (relative to its directory) to `dest`. */
	copy(source: State, src: string, dest: string, options: CopyOptions = {}): FileActions {
		const caps: string[] = [];
		if (options.includePatterns?.length || options.excludePatterns?.length) caps.push('file.copy.includeexcludepatterns');
		if (options.requiredPaths?.length) caps.push('file.copy.requiredpaths');
		if (options.alwaysReplaceExistingDestPaths) caps.push('file.copy.alwaysreplaceexistingdestpaths');
		if (typeof options.mode === 'string') caps.push('file.copy.modestring');
		return this.with({
			source,
			caps,
			encode: (dir, base) => ({
				$case: 'copy',
				copy: {
					src: normalize(source.meta.dir, src, false),
					dest: normalize(dir, dest, true),
					owner: pbOwner(options.owner, base),
					mode: typeof options.mode === 'number' ? options.mode : options.mode === undefined ? -1 : 0,
					modeStr: typeof options.mode === 'string' ? options.mode : '',
					followSymlink: options.followSymlinks ?? false,
					dirCopyContents: options.copyDirContentsOnly ?? false,
					attemptUnpackDockerCompatibility: options.attemptUnpack ?? false,
					createDestPath: options.createDestPath ?? false,
					allowWildcard: options.allowWildcard ?? false,
					allowEmptyWildcard: options.allowEmptyWildcard ?? false,
					timestamp: options.createdTime ?? -1n,
					includePatterns: [...(options.includePatterns ?? [])],
					excludePatterns: [...(options.excludePatterns ?? [])],
					requiredPaths: [...(options.requiredPaths ?? [])],
					alwaysReplaceExistingDestPaths: options.alwaysReplaceExistingDestPaths ?? false,
				},
			}),
		});
	}
}

/** The start of a chain of actions: `fileActions().mkdir('/a', 0o755).copy(...)`. */
export function fileActions(): FileActions {
	return new FileActions();
}

class FileVertex implements Vertex {
	constructor(readonly state: State, readonly actions: FileActions, readonly constraints: Constraints) {
		if (actions.steps.length === 0) throw new Error('action is required');
	}

	inputs(): Output[] {
		const states = [this.state, ...this.actions.steps.flatMap((step) => step.source ?? [])];
		return states.flatMap((state) => state.output ?? []);
	}

	marshal(context: MarshalContext): Marshalled {
		const inputs: Input[] = [];
		const base = this.state.output ? addInput(inputs, this.state.output, context) : -1;
		const sources = this.actions.steps.map((step) => (step.source?.output ? addInput(inputs, step.source.output, context) : -1));
		const last = this.actions.steps.length - 1;
		const actions = this.actions.steps.map((step, i): FileAction => ({
			input: i === 0 ? base : inputs.length + i - 1,
			secondaryInput: sources[i] ?? -1,
			output: i === last ? 0 : -1,
			action: step.encode(this.state.meta.dir, base),
		}));
		const caps = new Set(['file.base', ...this.actions.steps.flatMap((step) => step.caps)]);
		// File operations give the same on every platform.
		return seal({ $case: 'file', file: { actions } }, inputs, this.constraints, undefined, [...caps]);
	}
}

/** Applies `actions` to `state`. @throws Error when there are none. */
export function fileOp(state: State, actions: FileActions, constraints: Constraints): State {
	return state.withOutput({ vertex: new FileVertex(state, actions, constraints), index: 0 });
}
