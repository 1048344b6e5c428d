// The client's directories. In the client's own process nothing is transferred: files are read where they
// are, through the filters the frontend gave.
import { attr, type SourceOp } from '../llb/index.js';
import { FileTree } from '../native/files.js';
import type { Source, SourceContent, SourceContext } from './source.js';

/** Names are as in `--local NAME=DIR`: `context`, `dockerfile`, or a named context. */
export class LocalSource implements Source {
	readonly #name: string;
	readonly #include: readonly string[];
	readonly #exclude: readonly string[];
	readonly #follow: readonly string[];

	constructor(op: SourceOp) {
		this.#name = op.identifier.slice('local://'.length);
		this.#include = patterns(op, attr.localIncludePatterns);
		this.#exclude = patterns(op, attr.localExcludePatterns);
		this.#follow = patterns(op, attr.localFollowPaths);
	}

	identity(): Promise<undefined> {
		return Promise.resolve(undefined);
	}

	async fetch(context: SourceContext): Promise<SourceContent> {
		const { root, statCache } = await context.session.localDirectory(this.#name);
		const tree = await FileTree.open({
			root,
			includePatterns: this.#include,
			excludePatterns: this.#exclude,
			followPaths: this.#follow,
			resetOwner: true,
			statCache,
		});
		context.signal.addEventListener('abort', () => { tree.close(); }, { once: true });
		return { kind: 'directory', root, tree };
	}
}

/** A list attribute: a JSON array of strings. */
function patterns(op: SourceOp, name: string): readonly string[] {
	const text = op.attrs.get(name);
	if (text === undefined) return [];
	const list: unknown = JSON.parse(text);
	if (!Array.isArray(list) || list.some((item) => typeof item !== 'string')) throw new Error(`${op.identifier}: ${name} must be a JSON array of strings, not ${text}`);
	return list as string[];
}
