// The image of another frontend, as a build's options name it.
import type { Definition } from '../src/llb/index.js';
import { formatReference, image as imageState, marshal, parseReference, withDefaultTag } from '../src/llb/index.js';
import type { FrontendClient } from './client.js';
import type { Image } from './image.js';
import { decodeImage } from './image.js';
import { Ui } from './ui/context.js';
import { imageSource } from './ui/named-context.js';

export interface FrontendImage {
	readonly definition: Definition;
	/** Undefined when a build context without an image's config stands in for it. */
	readonly image?: Image;
}

/** Finds `source`, or what a named context has in its place. */
export async function findFrontendImage(client: FrontendClient, source: string): Promise<FrontendImage> {
	const platform = client.buildPlatform;
	const context = new Ui(client).namedContext(source, { platform, resolveMode: 'default', followPaths: () => undefined });
	if (context) {
		const { state, image } = await context.load();
		return { definition: marshal(state, { platform }), ...(image ? { image } : {}) };
	}
	const wanted = formatReference(withDefaultTag(parseReference(source)));
	const meta = await client.resolveImageConfig(imageSource(wanted), { platform, logName: `resolve image config for docker-image://${wanted}` });
	const { digest: _pinned, ...reference } = parseReference(meta.ref);
	const pinned = formatReference(meta.digest === '' ? parseReference(meta.ref) : { ...reference, digest: meta.digest });
	return { definition: marshal(imageState(pinned, { platform }), { platform }), image: decodeImage(meta.config) };
}
