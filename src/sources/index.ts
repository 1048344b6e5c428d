// Sources: what a build takes from outside: images and the client's directories. Each names its
// content where it can (so that a cached build brings nothing), and brings it as a snapshot or a directory.
import type { Platform } from '../image/index.js';
import type { SourceOp } from '../llb/index.js';
import { ImageSource, type ImageSourceOptions } from './image.js';
import { LocalSource } from './local.js';
import type { Source } from './source.js';

export { ImageResolver, type ImageSourceInfo } from './image-resolver.js';
export type { ConvertedLayers, ImageSourceOptions } from './image.js';
export type { Source, SourceContent, SourceContext } from './source.js';

export class Sources {
	constructor(private readonly images: ImageSourceOptions) {}

	/** The source an operation names. Throws for schemes obd does not have. */
	source(op: SourceOp, platform: Platform): Source {
		const [scheme = '', rest = ''] = op.identifier.split(/:\/\/(.*)/s);
		switch (scheme) {
			case 'docker-image': return new ImageSource(rest, platform, this.images);
			case 'local': return new LocalSource(op);
			default: throw new Error(`source ${op.identifier}: obd has no source of kind ${scheme}`);
		}
	}
}
