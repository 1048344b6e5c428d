// Pushes a committed image to each of its names.
import { formatReference, parseReference, repositoryName, withDigest, type Descriptor } from '../image/index.js';
import { bufferSource, fileSource, pushImage, type BlobSource, type PushItem, type RegistryClient, type Repository } from '../registry/index.js';
import { step, type CommittedImage, type ExportContext, type ImageBlob } from './content.js';
import type { ImageOptions } from './options.js';

export interface PushContext extends ExportContext {
	readonly registry: RegistryClient;
	readonly isInsecure: (domain: string) => boolean;
}

/** Pushes under every full name; throws `failed to push NAME: ...`. */
export async function pushToNames(image: CommittedImage, names: readonly string[], options: ImageOptions, context: PushContext): Promise<void> {
	if (names.length === 0) throw new Error('tag is needed when pushing to registry');
	for (const name of names) {
		try {
			await pushTo(image, name, options, context);
		} catch (error) {
			context.signal.throwIfAborted();
			throw new Error(`failed to push ${name}: ${(error as Error).message}`, { cause: error });
		}
	}
}

async function pushTo(image: CommittedImage, name: string, options: ImageOptions, context: PushContext): Promise<void> {
	const { registry, signal, reporter } = context;
	const reference = parseReference(name);
	const repository = registry.repository(reference, { insecure: options.insecure || context.isInsecure(reference.domain) });
	const items = image.blobs.map((blob) => pushItem(blob, repository, context));
	const documents = image.manifests.map(({ descriptor, origin }) => {
		if (origin.kind !== 'bytes') throw new Error(`manifest ${descriptor.digest} is not in memory`);
		return { descriptor, bytes: origin.bytes };
	});
	const statuses = new Map<string, ReturnType<typeof reporter.status>>();
	const statusOf = (descriptor: Descriptor): ReturnType<typeof reporter.status> => {
		let status = statuses.get(descriptor.digest);
		if (!status) statuses.set(descriptor.digest, status = reporter.status(`pushing ${descriptor.digest}`, descriptor.size));
		return status;
	};
	await step(context, 'pushing layers', async () => {
		await context.early?.settled((descriptor, bytes, done) => {
			statusOf(descriptor).update(bytes);
			if (done) statusOf(descriptor).done();
		});
		await pushImage(repository, items, [], [], {
			signal,
			onProgress: (descriptor, bytes) => statusOf(descriptor).update(bytes),
			onPushed: (descriptor, { how }) => {
				if (how === 'uploaded') statusOf(descriptor).done();
			},
		});
	});
	const tags = options.pushByDigest || reference.tag === undefined ? [] : [reference.tag];
	const shown = formatReference(withDigest(options.pushByDigest ? { domain: reference.domain, path: reference.path } : reference, image.root.digest));
	await step(context, `pushing manifest for ${shown}`, () => pushImage(repository, [], documents, tags, { signal }));
}

function pushItem({ descriptor, origin }: ImageBlob, target: Repository, context: PushContext): PushItem {
	switch (origin.kind) {
		case 'bytes': return { descriptor, source: bufferSource(origin.bytes) };
		case 'file': return { descriptor, source: fileSource(origin.path, descriptor.size) };
		case 'remote': {
			const from = context.registry.repository(origin.source.repository, { insecure: origin.source.insecure });
			const reference = parseReference(origin.source.repository);
			const source: BlobSource = {
				size: descriptor.size,
				open: (offset) => from.readBlob(descriptor, { offset, signal: context.signal }),
			};
			const sameRegistry = repositoryName(reference).startsWith(`${target.domain}/`);
			return { descriptor, source, ...(sameRegistry && { mountFrom: [reference.path] }) };
		}
	}
}
