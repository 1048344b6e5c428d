import type { FileTree } from '../native/files.js';
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

/** One source operation of a build graph. */
export interface Source {
	/** Names the content without bringing it (an image's digest); undefined when only the content itself can tell. */
	identity(context: SourceContext): Promise<string | undefined>;
	fetch(context: SourceContext): Promise<SourceContent>;
}
