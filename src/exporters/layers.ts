// What both kinds of layers share: a layer as an image has it, and what was made for earlier images.
import type { LayerRecord } from '../image/index.js';
import type { ImageBlob } from './content.js';

export interface ImageLayer {
	readonly blob: ImageBlob;
	/** A blob the manifest does not list: the ordinary layer that a turboOCI layer points into. */
	readonly target?: ImageBlob;
	readonly record: LayerRecord;
}

/** A layer that was made for an export and is in the store. */
export interface StoredChangeset {
	readonly digest: string;
	readonly diffId: string;
	readonly size: number;
}

/** The store as exporters see it. */
export interface LayerStore {
	/** A layer made earlier for the same key, if it is still there. */
	find(key: string): Promise<StoredChangeset | undefined>;
	temporaryPath(): Promise<string>;
	/** Moves a finished blob into the store and remembers it under `key`. */
	keep(key: string, temporaryPath: string, changeset: StoredChangeset): Promise<void>;
	/** Remembers under `key` a blob that is in the store. */
	remember(key: string, changeset: StoredChangeset): Promise<void>;
	blobPath(digest: string, size: number): Promise<string | undefined>;
}
