// What a running build tells whoever watches it: the same four lists as BuildKit's SolveStatus, as plain
// values. A vertex is sent again whenever its state changes.

export interface Vertex {
	/** `sha256:...` of the LLB vertex. */
	readonly digest: string;
	readonly inputs: readonly string[];
	readonly name: string;
	readonly cached?: boolean;
	readonly started?: Date;
	readonly completed?: Date;
	/** The error's message, or '' / undefined while there is none. A cancelled vertex says "context canceled". */
	readonly error?: string;
	readonly progressGroup?: { readonly id: string; readonly name: string; readonly weak?: boolean };
}

/** Progress of one thing a vertex works on: a layer being downloaded, converted, sealed, pushed. */
export interface VertexStatus {
	readonly id: string;
	readonly vertex: string;
	readonly name: string;
	/** Bytes, or items when the name says so; 0 when unknown. */
	readonly total: number;
	readonly current: number;
	readonly timestamp: Date;
	readonly started?: Date;
	readonly completed?: Date;
}

export interface VertexLog {
	readonly vertex: string;
	/** 1 stdout, 2 stderr. */
	readonly stream: number;
	readonly data: Uint8Array;
	readonly timestamp: Date;
}

export interface SourceRange {
	/** 1-based line, 0-based character, as in LLB's `pb.Range`. */
	readonly start: { readonly line: number; readonly character: number };
	readonly end: { readonly line: number; readonly character: number };
}

export interface VertexWarning {
	readonly vertex: string;
	readonly level: number;
	readonly short: string;
	readonly detail: readonly string[];
	readonly url?: string;
	readonly source?: { readonly filename: string; readonly data: Uint8Array; readonly language: string };
	readonly ranges?: readonly SourceRange[];
}

export interface SolveStatus {
	readonly vertexes?: readonly Vertex[];
	readonly statuses?: readonly VertexStatus[];
	readonly logs?: readonly VertexLog[];
	readonly warnings?: readonly VertexWarning[];
}

export type StatusSink = (status: SolveStatus) => void;
