// The client's directories. In the client's own process nothing is transferred: files are read where they
// are, through the filters the frontend gave.
import { attr, type SourceOp } from '../llb/index.js';
import { FileTree } from '../native/files.js';
import type { LocalRequest } from '../session/index.js';
import type { StatusReporter } from '../solver/index.js';
import { listAttribute } from './attributes.js';
import type { Source, SourceContent, SourceContext, SourceIdentity } from './source.js';

/** Between two signs of how far a transfer has come. */
const progressMs = 100;

/** Names are as in `--local NAME=DIR`: `context`, `dockerfile`, or a named context. */
export class LocalSource implements Source {
	readonly #name: string;
	readonly #wanted: LocalRequest;

	constructor(op: SourceOp) {
		this.#name = op.identifier.slice('local://'.length);
		const hint = op.attrs.get(attr.localSharedKeyHint);
		const sessionId = op.attrs.get(attr.localSessionId);
		this.#wanted = {
			includePatterns: listAttribute(op, attr.localIncludePatterns) ?? [],
			excludePatterns: listAttribute(op, attr.localExcludePatterns) ?? [],
			followPaths: listAttribute(op, attr.localFollowPaths) ?? [],
			differ: op.attrs.get(attr.localDiffer) === 'none' ? 'none' : 'metadata',
			...(hint !== undefined && { sharedKeyHint: hint }),
			...(sessionId !== undefined && { sessionId }),
			...(op.attrs.get(attr.localMetadataTransfer) === 'true' && { metadataOnly: listAttribute(op, attr.localMetadataTransferExclude) ?? [] }),
		};
	}

	identity(): Promise<SourceIdentity> {
		return Promise.resolve({ key: undefined, material: { kind: 'local', name: this.#name } });
	}

	async fetch({ session, signal, reporter }: SourceContext): Promise<SourceContent> {
		const { includePatterns, excludePatterns, followPaths } = this.#wanted;
		let status: StatusReporter | undefined;
		let [bytes, shownAt] = [0, 0];
		const { root, statCache } = await session.localDirectory(this.#name, this.#wanted, (received) => {
			bytes = received;
			if (performance.now() - shownAt < progressMs) return;
			shownAt = performance.now();
			status ??= reporter.status(`transferring ${this.#name}:`, 0, 'transferring');
			status.update(bytes);
		});
		status?.update(bytes);
		status?.done();
		const tree = await FileTree.open({ root, includePatterns, excludePatterns, followPaths, resetOwner: true, statCache }).catch((error: unknown) => {
			// In BuildKit it is the client that answers so.
			const { message } = error as Error;
			throw /^invalid (in|ex)cludepatterns: /.test(message) ? new Error(`rpc error: code = Unknown desc = ${message}`, { cause: error }) : error;
		});
		signal.addEventListener('abort', () => { tree.close(); }, { once: true });
		return { kind: 'directory', root, tree };
	}
}
