// Attestations beside an image: in-toto statements in a manifest of their own, which the index names.
import {
	digestAlgorithm, digestHex, document, encodeImageConfig, encodeJson, encodeManifest, fromParsed, mediaTypes, ordered,
	type Descriptor, type Document, type Json, type OrderedObject, type Platform,
} from '../image/index.js';
import type { Attestation, ImageBlob } from './content.js';
import type { ImageOptions } from './options.js';
import { imagePurl } from './purl.js';

const statementType = 'https://in-toto.io/Statement/v1';
const payloadType = 'application/vnd.in-toto+json';
const artifactType = 'application/vnd.docker.attestation.manifest.v1+json';
const maxPredicateBytes = 40 * 1024 * 1024;
/** Runtimes must not take the manifest for an image they could run. */
const unknownPlatform: Platform = { os: 'unknown', architecture: 'unknown' };

/** What a statement is about. */
export interface Subject {
	readonly name: string;
	readonly digest: string;
}

export interface AttestationManifest {
	readonly manifest: Document;
	/** As the index names it. */
	readonly descriptor: Descriptor;
	readonly blobs: readonly ImageBlob[];
}

/** An image that attestations are about. */
export interface AttestedImage {
	/** Of its manifest. */
	readonly descriptor: Descriptor;
	/** Bottom first. */
	readonly layers: readonly Descriptor[];
	readonly platform: Platform;
}

/** The manifest of these attestations about an image. */
export async function attestationManifest(attestations: readonly Attestation[], { descriptor: target, layers: imageLayers, platform }: AttestedImage, names: readonly string[], options: ImageOptions): Promise<AttestationManifest> {
	const subjects = names.map((name) => ({ name: imagePurl('docker', name, platform), digest: target.digest }));
	const layers = await Promise.all(attestations.map(async (attestation): Promise<ImageBlob> => {
		const bytes = encodeJson(await statement(attestation, subjects, imageLayers));
		const { descriptor } = document(payloadType, bytes);
		return { descriptor: { ...descriptor, annotations: { 'in-toto.io/predicate-type': attestation.predicateType } }, origin: { kind: 'bytes', bytes } };
	}));
	const config = options.ociArtifact ? emptyConfig() : imageLikeConfig(layers.map(({ descriptor }) => descriptor.digest), options.ociMediaTypes);
	const { mediaType, digest, size } = target;
	const manifest = encodeManifest({
		mediaType: options.ociMediaTypes ? mediaTypes.ociManifest : mediaTypes.dockerManifest,
		...(options.ociArtifact && { artifactType, subject: { mediaType, digest, size } }),
		config: config.descriptor,
		layers: layers.map(({ descriptor }) => descriptor),
	});
	return {
		manifest,
		descriptor: {
			...manifest.descriptor,
			annotations: { 'vnd.docker.reference.type': 'attestation-manifest', 'vnd.docker.reference.digest': digest },
			platform: unknownPlatform,
		},
		blobs: [...layers, { descriptor: config.descriptor, origin: { kind: 'bytes', bytes: config.bytes } }],
	};
}

/** An in-toto statement. `defaults` are what it is about when it does not say, `layers` those of an image. */
export async function statement({ predicateType, subjects, content }: Attestation, defaults: readonly Subject[], layers?: readonly Descriptor[]): Promise<OrderedObject> {
	const bytes = await content(layers);
	if (bytes.length > maxPredicateBytes) throw new Error(`attestation ${predicateType} exceeds ${maxPredicateBytes} bytes`);
	const about = (subjects.length > 0 ? subjects : [{ kind: 'self', name: '' } as const]).flatMap((subject): Json[] => {
		if (subject.kind === 'raw') return [subjectJson(subject.name || '_', subject.digests)];
		return defaults.flatMap(({ name, digest }) => [name, ...(subject.name === '' || subject.name === '_' ? [] : [subject.name])].map((one) => subjectJson(one, [digest])));
	});
	return ordered([
		['_type', statementType],
		['predicateType', predicateType],
		['subject', about],
		['predicate', bytes.length === 0 ? null : fromParsed(JSON.parse(Buffer.from(bytes).toString()))],
	]);
}

function subjectJson(name: string, digests: readonly string[]): OrderedObject {
	return ordered([['name', name], ['digest', ordered(digests.map((digest) => [digestAlgorithm(digest), digestHex(digest)]))]]);
}

function emptyConfig(): Document {
	const { descriptor, bytes } = document(mediaTypes.ociEmpty, Buffer.from('{}'));
	return { descriptor: { ...descriptor, data: Buffer.from(bytes).toString('base64') }, bytes };
}

/** For registries that know images only. */
function imageLikeConfig(digests: readonly string[], ociMediaTypes: boolean): Document {
	const bytes = encodeImageConfig({ architecture: 'unknown', os: 'unknown', config: {}, rootfs: { type: 'layers', diff_ids: digests } });
	return document(ociMediaTypes ? mediaTypes.ociConfig : mediaTypes.dockerConfig, bytes);
}
