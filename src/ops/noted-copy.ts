// Copies that can go on from their former result: which these are, and under which key that is found. What is
// copied anew, and when nothing of the former run can be used, native/files/copy_notes.h decides.
import { createHash } from 'node:crypto';
import { pb } from '../llb/index.js';
import type { Result } from '../solver/index.js';
import type { FormerCopy, Worker } from './worker.js';
import { asOpResult } from './result.js';
import type { Snapshot } from '../snapshot/index.js';

export type CopyAction = pb.FileAction & { readonly action: { readonly $case: 'copy'; readonly copy: pb.FileActionCopy } };

/**
 * The actions of an op that does nothing but copy from directories of this host, one copy after the other, into one
 * result: as COPY of a context does. Undefined for any other. Archives that are unpacked, directories whose place
 * depends on what is there, and given times (the same layer, byte for byte) are left to the plain copy.
 */
export function notedCopies(actions: readonly pb.FileAction[], inputs: readonly Result[]): readonly CopyAction[] | undefined {
	const isNoted = (action: pb.FileAction, i: number): action is CopyAction => {
		if (action.action?.$case !== 'copy') return false;
		const { copy } = action.action;
		const source = inputs[action.secondaryInput];
		return source !== undefined && asOpResult(source).kind === 'directory'
			&& (i === 0 ? action.input < inputs.length : action.input === inputs.length + i - 1)
			&& action.output === (i === actions.length - 1 ? 0 : -1)
			&& copy.dirCopyContents && !copy.attemptUnpackDockerCompatibility && copy.timestamp === -1n;
	};
	return actions.every(isNoted) ? actions : undefined;
}

/** The key of these copies on layers with those digests: all that decides on the result but what the sources hold. */
export function noteKey(actions: readonly CopyAction[], inputs: readonly Result[]): (digests: readonly string[]) => string {
	const roots = actions.map(({ secondaryInput }) => {
		const source = inputs[secondaryInput];
		const result = source && asOpResult(source);
		return result?.kind === 'directory' ? result.root : '';
	});
	const op = pb.FileOp.encode({ actions: [...actions] }).finish();
	return (digests) => createHash('sha256').update(JSON.stringify(['obd.copy.v1', roots, digests])).update(op).digest('hex');
}

/** The last run of the copies with this key; undefined while layers below are not sealed, for they are new then. */
export async function formerCopy(worker: Worker, parent: Snapshot, keyOn: (digests: readonly string[]) => string): Promise<FormerCopy | undefined> {
	const ids = parent.layers.map(({ id }) => id);
	return ids.every((id) => id.startsWith('sha256:')) ? worker.formerCopies.find(keyOn(ids)) : undefined;
}
