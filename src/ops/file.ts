// The file op: mkdir, mkfile, symlink, rm and copy on mounted snapshots.
import { createHash } from 'node:crypto';
import { rm } from 'node:fs/promises';
import { pb } from '../llb/index.js';
import { FileTree, runFileActions, runNotedCopies, type CopyFileAction, type FileAction, type Selection } from '../native/files.js';
import type { BuildSession } from '../session/index.js';
import { scratch, type ReadMount, type Snapshot, type WritableMount } from '../snapshot/index.js';
import { isCanceled, type CacheMap, type Op, type OpContext, type Result } from '../solver/index.js';
import type { Laid } from './changes.js';
import { contentKey } from './content.js';
import { watchingDisks } from './fetch-report.js';
import { formerCopy, notedCopies, noteKey, type CopyAction } from './noted-copy.js';
import { prepareRoot } from './prepare-root.js';
import { resolveOwner } from './owner.js';
import { asOpResult, laidOf, SnapshotResult } from './result.js';
import { given as left, StepError, WrittenMount, type Leftovers, type LeftResult } from './step-error.js';
import { toSnapshot } from './to-snapshot.js';
import { uuidOf } from './uuid.js';
import type { FormerCopy, Worker } from './worker.js';

export class FileOp implements Op<BuildSession> {
	readonly weight = 1;

	constructor(
		private readonly worker: Worker,
		private readonly op: pb.FileOp,
		private readonly inputCount: number,
	) {
		validate(op.actions, inputCount);
	}

	cacheMap(): Promise<CacheMap> {
		const selectors = new Map<number, Selection[]>();
		const whole = new Set<number>();
		const actions = this.op.actions.map((action) => this.#keyed(action, selectors, whole));
		const sum = createHash('sha256').update('obd.file.v1').update(pb.FileOp.encode({ actions }).finish());
		return Promise.resolve({
			digest: `sha256:${sum.digest('hex')}`,
			inputs: Array.from({ length: this.inputCount }, (_, i) => {
				const selected = selectors.get(i);
				return selected && !whole.has(i) ? contentKey(this.worker, selected) : {};
			}),
		});
	}

	/** The action as it enters the key: a source path counts by its content, only its last name counts itself. */
	#keyed(action: pb.FileAction, selectors: Map<number, Selection[]>, whole: Set<number>): pb.FileAction {
		const select = (input: number, selector: Selection): void => {
			if (input < 0 || input >= this.inputCount) return;
			const list = selectors.get(input);
			if (list) list.push(selector);
			else selectors.set(input, [selector]);
		};
		if (action.input >= 0) whole.add(action.input);
		selectOwnerFiles(ownerOf(action), select);
		if (action.action?.$case !== 'copy') return action;
		const { copy } = action.action;
		select(action.secondaryInput, {
			path: copy.src,
			wildcard: copy.allowWildcard && hasWildcard(copy.src),
			followLinks: copy.followSymlink,
			includePatterns: copy.includePatterns,
			excludePatterns: copy.excludePatterns,
			requiredPaths: copy.requiredPaths,
		});
		if (action.secondaryInput < 0 || action.secondaryInput >= this.inputCount) return action;
		return { ...action, action: { $case: 'copy', copy: { ...copy, src: baseName(copy.src) } } };
	}

	prepare(inputs: readonly Result[]): Promise<void> {
		return prepareRoot(this.worker, inputs[this.op.actions[0]?.input ?? -1], stepOf(this.op.actions));
	}

	async run(context: OpContext<BuildSession>, inputs: readonly Result[]): Promise<readonly Result[]> {
		const execution = new FileOpExecution(this.worker, this.op.actions, inputs, context);
		try {
			return await execution.run();
		} finally {
			await execution.close();
		}
	}
}

/** Inputs and results of actions, numbered as the actions refer to them, while the op runs. */
class FileOpExecution {
	readonly #open = new Map<number, WritableMount>();
	readonly #snapshots = new Map<number, Snapshot>();
	readonly #views = new Map<number, ReadMount>();
	readonly #trees = new Map<number, FileTree>();
	readonly #uses = new Map<number, number>();

	constructor(
		private readonly worker: Worker,
		private readonly actions: readonly pb.FileAction[],
		private readonly inputs: readonly Result[],
		private readonly context: OpContext<BuildSession>,
	) {
		for (const action of actions) {
			for (const ref of [action.input, action.secondaryInput]) this.#uses.set(ref, (this.#uses.get(ref) ?? 0) + 1);
		}
	}

	async run(): Promise<readonly Result[]> {
		const copies = notedCopies(this.actions, this.inputs);
		const noted = copies && await this.#copy(copies);
		if (noted) return [noted];
		const outputs: Result[] = [];
		for (const [i, action] of this.actions.entries()) {
			this.context.signal.throwIfAborted();
			const ref = this.inputs.length + i;
			const mount = await this.#writable(action.input);
			this.#open.set(ref, mount);
			try {
				const step = await this.#native(action, mount);
				await watchingDisks(mount, [...this.#views.values()], this.context, (signal) => runFileActions(mount.root, [step], { signal }));
			} catch (error) {
				if (this.context.signal.aborted || isCanceled(error)) throw error;
				throw new StepError(error, this.#leave(i));
			}
			if (action.output >= 0) outputs[action.output] = new SnapshotResult(await this.#commit(ref), this.#laid(ref));
		}
		return outputs;
	}

	/**
	 * Goes on from what the same copies made the last time, where there is such a result and it can be used. Undefined
	 * when a copy fails: the plain one then says how, and leaves what it has done to whoever wants to look at it.
	 */
	async #copy(copies: readonly CopyAction[]): Promise<Result | undefined> {
		const parent = await this.#snapshot(copies[0]?.input ?? -1);
		const keyOn = noteKey(copies, this.inputs);
		const former = this.context.ignoreCache ? undefined : await formerCopy(this.worker, parent, keyOn);
		for (const from of former ? [former, undefined] : [undefined]) {
			try {
				const result = await this.#copyOnto(parent, copies, keyOn, from);
				if (result) return result;
			} catch {
				this.context.signal.throwIfAborted();
			}
		}
		return undefined;
	}

	/** Undefined when the former run is of no use. */
	async #copyOnto(parent: Snapshot, copies: readonly CopyAction[], keyOn: (digests: readonly string[]) => string, former?: FormerCopy): Promise<SnapshotResult | undefined> {
		const { snapshots, formerCopies } = this.worker;
		const notesFile = await formerCopies.temporaryPath();
		const mount = await snapshots.writable(parent, this.context.signal, { step: stepOf(this.actions), ...(former && { former: former.layer }) });
		try {
			// Whose files belong to whom, the files below say, not those of the former run.
			const steps = await Promise.all(copies.map((action) => this.#nativeCopy(action, former ? undefined : mount)));
			const notes = await watchingDisks(mount, [...this.#views.values()], this.context, (signal) => runNotedCopies(mount.root, steps, notesFile, former?.notes, { signal }));
			if (!notes) return undefined;
			if (notes.size > 0) await formerCopies.keep(notesFile, notes.digest, notes.size);
			const snapshot = await mount.commit(uuidOf(this.context.key, this.inputs.length + copies.length - 1));
			// Its former layer may be damaged: the build fails, but not the next one as well.
			if (former) snapshot.layers.at(-1)?.sealed.catch(() => formerCopies.forget(former.key).catch(() => undefined));
			return new SnapshotResult(snapshot, this.#laid(copies[0]?.input ?? -1), notes.size > 0 ? { keyOn, notes } : undefined);
		} finally {
			await mount.abort();
			await rm(notesFile, { force: true });
		}
	}

	async close(): Promise<void> {
		for (const tree of this.#trees.values()) tree.close();
		await Promise.all([...this.#views.values()].map((view) => view.release()));
		await Promise.all([...this.#open.values()].map((mount) => mount.abort()));
	}

	/** What there is to see when an action has failed: the file system it worked on, as it left it. */
	#leave(index: number): Leftovers {
		const ref = this.inputs.length + index;
		const mounts: (LeftResult | undefined)[] = this.actions.map(() => undefined);
		const mount = this.#open.get(ref);
		if (mount) {
			this.#open.delete(ref);
			const written = new WrittenMount(mount, this.#laid(ref));
			this.context.leave(written);
			mounts[index] = written;
		}
		const secondary = (this.actions[index]?.secondaryInput ?? -1) - this.inputs.length;
		const copied = this.#snapshots.get(secondary + this.inputs.length);
		if (secondary >= 0 && copied) mounts[secondary] = left(new SnapshotResult(copied));
		return { inputs: this.inputs.map(left), mounts, part: { $case: 'file', index } };
	}

	/** A mount standing at `ref`: the open one of the action before when nobody else needs it, else a new one. */
	async #writable(ref: number): Promise<WritableMount> {
		const open = this.#open.get(ref);
		if (open && this.#uses.get(ref) === 1) {
			this.#open.delete(ref);
			return open;
		}
		return this.worker.snapshots.writable(await this.#snapshot(ref), this.context.signal, { step: stepOf(this.actions) });
	}

	async #snapshot(ref: number): Promise<Snapshot> {
		if (ref < 0) return scratch;
		const input = this.inputs[ref];
		if (input) {
			return toSnapshot(this.worker, input, this.context.signal);
		}
		return this.#snapshots.get(ref) ?? this.#commit(ref);
	}

	async #commit(ref: number): Promise<Snapshot> {
		const mount = this.#open.get(ref);
		if (!mount) throw new Error(`result ${ref} of a file operation does not exist`);
		this.#open.delete(ref);
		const snapshot = await mount.commit(uuidOf(this.context.key, ref));
		this.#snapshots.set(ref, snapshot);
		return snapshot;
	}

	/** What was laid to make what a reference was worked on. */
	#laid(ref: number): Laid | undefined {
		const input = this.inputs[ref];
		if (input) return laidOf(input);
		const action = this.actions[ref - this.inputs.length];
		return action && this.#laid(action.input);
	}

	/** Root of a reference for reading; views stay open until the op ends. `target`: of the mount that stands at the first action's input. */
	async #rootOf(ref: number, target: WritableMount | undefined): Promise<string> {
		const input = this.inputs[ref];
		if (input) {
			const result = asOpResult(input);
			if (result.kind === 'directory') return result.root;
			// The target shows this input's passwd as long as the op has not changed it: no second mount.
			if (target && this.actions[0]?.input === ref) return target.root;
		}
		return (await this.#view(ref)).root;
	}

	/** Where a reference can be read, mounted once for the whole op. */
	async #view(ref: number): Promise<ReadMount> {
		let view = this.#views.get(ref);
		if (!view) {
			view = await this.worker.snapshots.view(await this.#snapshot(ref), this.context.signal);
			this.#views.set(ref, view);
		}
		return view;
	}

	async #native(action: pb.FileAction, mount: WritableMount): Promise<FileAction> {
		const { action: step } = action;
		if (!step) throw new Error('a file action without an action');
		const owner = await resolveOwner(ownerOf(action), (ref) => this.#rootOf(ref, mount));
		switch (step.$case) {
			case 'mkdir': {
				const { path, mode, makeParents, timestamp } = step.mkdir;
				return { type: 'mkdir', path, mode, makeParents, owner, timestamp: given(timestamp) };
			}
			case 'mkfile': {
				const { path, mode, data, timestamp } = step.mkfile;
				return { type: 'mkfile', path, mode, data, owner, timestamp: given(timestamp) };
			}
			case 'symlink': {
				const { oldpath, newpath, timestamp } = step.symlink;
				return { type: 'symlink', oldPath: oldpath, newPath: newpath, owner, timestamp: given(timestamp) };
			}
			case 'rm':
				return { type: 'rm', ...step.rm };
			case 'copy':
				return { ...copyAction(step.copy), source: await this.#source(action.secondaryInput), owner };
		}
	}

	async #nativeCopy(action: CopyAction, target: WritableMount | undefined): Promise<CopyFileAction> {
		const owner = await resolveOwner(ownerOf(action), (ref) => this.#rootOf(ref, target));
		return { ...copyAction(action.action.copy), source: await this.#source(action.secondaryInput), owner };
	}

	async #source(ref: number): Promise<FileTree> {
		const input = ref >= 0 ? this.inputs[ref] : undefined;
		const result = input && asOpResult(input);
		if (result?.kind === 'directory') return result.tree;
		let tree = this.#trees.get(ref);
		if (!tree) {
			tree = await FileTree.open({ root: (await this.#view(ref)).root, skipLostFound: true });
			this.#trees.set(ref, tree);
		}
		return tree;
	}
}

/** What is done, for the trace of reads. */
function stepOf(actions: readonly pb.FileAction[]): string {
	return createHash('sha256').update(pb.FileOp.encode({ actions: [...actions] }).finish()).digest('hex');
}

function copyAction(copy: pb.FileActionCopy): Omit<CopyFileAction, 'source'> {
	const { src, dest, mode, modeStr, attemptUnpackDockerCompatibility, timestamp, owner: _owner, ...flags } = copy;
	return {
		...flags,
		type: 'copy',
		src,
		dest,
		mode: mode < 0 || modeStr !== '' ? undefined : mode,
		modeStr,
		attemptUnpack: attemptUnpackDockerCompatibility,
		timestamp: given(timestamp),
	};
}

/** A timestamp in nanoseconds; -1 is none. */
function given(timestamp: bigint): bigint | undefined {
	return timestamp === -1n ? undefined : timestamp;
}

function ownerOf(action: pb.FileAction): pb.ChownOpt | undefined {
	switch (action.action?.$case) {
		case 'mkdir': return action.action.mkdir.owner;
		case 'mkfile': return action.action.mkfile.owner;
		case 'symlink': return action.action.symlink.owner;
		case 'copy': return action.action.copy.owner;
		default: return undefined;
	}
}

function selectOwnerFiles(owner: pb.ChownOpt | undefined, select: (input: number, selector: Selection) => void): void {
	if (owner?.user?.user?.$case === 'byName') select(owner.user.user.byName.input, { path: '/etc/passwd', followLinks: true });
	if (owner?.group?.user?.$case === 'byName') select(owner.group.user.byName.input, { path: '/etc/group', followLinks: true });
}

/** Refuses what BuildKit refuses: references to nothing, outputs that are missing or given twice. */
function validate(actions: readonly pb.FileAction[], inputCount: number): void {
	if (actions.length === 0) throw new Error('no actions specified');
	const outputs = new Set<number>();
	for (const [i, action] of actions.entries()) {
		for (const ref of [action.input, action.secondaryInput]) {
			if (ref < -1 || ref >= inputCount + i) throw new Error(`invalid input index ${ref}, ${inputCount + i} provided`);
		}
		if (action.output === -1) continue;
		if (outputs.has(action.output)) throw new Error(`duplicate output ${action.output}`);
		outputs.add(action.output);
	}
	if (outputs.size === 0) throw new Error('no outputs specified');
	for (let i = 0; i < outputs.size; i++) if (!outputs.has(i)) throw new Error(`missing output index ${i}`);
}

function hasWildcard(path: string): boolean {
	return /(?:^|[^\\])(?:\\\\)*[*?[]/.test(path);
}

function baseName(path: string): string {
	const name = path.replace(/\/+$/, '');
	if (name === '') return path === '' ? '.' : '/';
	return name.slice(name.lastIndexOf('/') + 1);
}
