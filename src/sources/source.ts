import type { FileTree } from '../native/files.js';
import type { Platform } from '../image/index.js';
import type { BuildSession } from '../session/index.js';
import type { VertexReporter } from '../solver/index.js';
import type { Snapshot } from '../snapshot/index.js';

/** What a source brings: layers, or a directory of this host. */
export type SourceContent =
	| { readonly kind: 'snapshot'; readonly snapshot: Snapshot }
	| { readonly kind: 'directory'; readonly root: string; readonly tree: FileTree };

export interface SourceContext {
	readonly signal: AbortSignal;
	readonly reporter: VertexReporter;
	readonly session: BuildSession;
}

/** What a build took from outside, as provenance names it. */
export type Material =
	| { readonly kind: 'image'; readonly reference: string; readonly digest: string; readonly platform: Platform; readonly local: boolean }
	/** `secrets` and `ssh`: ids of what it may have been lent. */
	| { readonly kind: 'git'; readonly url: string; readonly commit: string; readonly secrets: readonly string[]; readonly ssh: readonly string[] }
	| { readonly kind: 'http'; readonly url: string; readonly digest: string }
	| { readonly kind: 'local'; readonly name: string };

/** Names a source's content. */
export interface SourceIdentity {
	/** Equal keys are equal contents; undefined when only the content itself can tell. */
	readonly key: string | undefined;
	readonly material: Material;
}

/** One source operation of a build graph. */
export interface Source {
	/** Names the content, without bringing it where that can be done (an image's digest, a commit). */
	identity(context: SourceContext): Promise<SourceIdentity>;
	fetch(context: SourceContext): Promise<SourceContent>;
}

/** Values found once a build: a tag or a branch that moves in between would make two stages differ. */
export class PerBuild<T> {
	readonly #known = new WeakMap<BuildSession, Map<string, Promise<T>>>();

	/** The value of `key` for this build; what failed is tried again. */
	get(session: BuildSession, key: string, find: () => Promise<T>): Promise<T> {
		let values = this.#known.get(session);
		if (!values) this.#known.set(session, values = new Map());
		let value = values.get(key);
		if (!value) {
			value = find();
			values.set(key, value);
			value.catch(() => { values.delete(key); });
		}
		return value;
	}
}
