// Real base images for builds: Debian's static busybox with its applets, as ordinary layers made here entry
// by entry, and what it takes to push them. Uses no code of the product.
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { gzipSync } from 'node:zlib';
import { pack } from 'tar-stream';

export interface TarEntry {
	readonly name: string;
	/** File content; absent for other types. */
	readonly content?: string | Buffer;
	readonly type?: 'file' | 'directory' | 'symlink' | 'link';
	readonly linkname?: string;
	readonly mode?: number;
	readonly uid?: number;
	readonly gid?: number;
}

export interface Descriptor {
	readonly mediaType: string;
	readonly digest: string;
	readonly size: number;
	readonly annotations?: Readonly<Record<string, string>>;
	readonly platform?: { readonly os: string; readonly architecture: string; readonly variant?: string };
}

export interface Manifest {
	readonly mediaType: string;
	readonly config: Descriptor;
	readonly layers: readonly Descriptor[];
	readonly annotations?: Readonly<Record<string, string>>;
}

export type Compression = 'gzip' | 'zstd' | 'uncompressed';

const mediaTypes = {
	manifest: 'application/vnd.oci.image.manifest.v1+json',
	index: 'application/vnd.oci.image.index.v1+json',
	config: 'application/vnd.oci.image.config.v1+json',
	layer: { gzip: 'application/vnd.oci.image.layer.v1.tar+gzip', zstd: 'application/vnd.oci.image.layer.v1.tar+zstd', uncompressed: 'application/vnd.oci.image.layer.v1.tar' },
};

/** As docker pushes them. */
const dockerTypes = {
	manifest: 'application/vnd.docker.distribution.manifest.v2+json',
	config: 'application/vnd.docker.container.image.v1+json',
	layer: { ...mediaTypes.layer, gzip: 'application/vnd.docker.image.rootfs.diff.tar.gzip', uncompressed: 'application/vnd.docker.image.rootfs.diff.tar' },
};

/** A root file system with a shell and coreutils, users root and app (1000:1001, also in wheel). */
export function busybox(): TarEntry[] {
	const applets = execFileSync('/bin/busybox', ['--list'], { encoding: 'utf8' }).trim().split('\n').filter((name) => name !== 'busybox');
	return [
		...['bin', 'dev', 'etc', 'proc', 'root', 'home', 'home/app', 'sys', 'usr', 'var'].map((name): TarEntry => ({ name, type: 'directory', mode: 0o755 })),
		{ name: 'tmp', type: 'directory', mode: 0o1777 },
		{ name: 'bin/busybox', content: readFileSync('/bin/busybox'), mode: 0o755 },
		...applets.map((name): TarEntry => ({ name: `bin/${name}`, type: 'symlink', linkname: 'busybox' })),
		{ name: 'etc/passwd', content: 'root:x:0:0:root:/root:/bin/sh\napp:x:1000:1001:app:/home/app:/bin/sh\n' },
		{ name: 'etc/group', content: 'root:x:0:\napp:x:1001:\nwheel:x:10:app\n' },
	];
}

/** A tar of these entries, in this order. */
export async function tarOf(entries: readonly TarEntry[]): Promise<Buffer> {
	const archive = pack();
	for (const { content, type = 'file', ...header } of entries) {
		archive.entry({ mode: 0o644, mtime: new Date(1_700_000_000_000), ...header, type }, content ?? '');
	}
	archive.finalize();
	const chunks: Buffer[] = [];
	for await (const chunk of archive as AsyncIterable<Buffer>) chunks.push(chunk);
	return Buffer.concat(chunks);
}

export interface ImageOptions {
	readonly compression?: Compression;
	/** The `config` of the image's config. */
	readonly config?: Readonly<Record<string, unknown>>;
	readonly architecture?: string;
	/** With docker's media types. */
	readonly docker?: boolean;
}

/** Pushes an image of these layers (tars, bottom first) as `repository:tag`; the registry must be an open one. */
export async function pushBase(host: string, name: string, tars: readonly Buffer[], options: ImageOptions = {}): Promise<Descriptor> {
	const { compression = 'gzip', config = {}, architecture = nodeArchitecture() } = options;
	const types = options.docker === true ? dockerTypes : mediaTypes;
	const repository = name.split(':')[0] ?? '';
	const layers: Descriptor[] = [];
	for (const tar of tars) layers.push(await pushBlob(host, repository, types.layer[compression], compress(tar, compression)));
	const document = {
		architecture,
		os: 'linux',
		config: { Env: ['PATH=/bin:/usr/bin'], Cmd: ['sh'], ...config },
		rootfs: { type: 'layers', diff_ids: tars.map(digestOf) },
		history: tars.map((_, i) => ({ created: '2023-11-14T22:13:20Z', created_by: `layer ${i}` })),
	};
	const manifest = {
		schemaVersion: 2,
		mediaType: types.manifest,
		config: await pushBlob(host, repository, types.config, Buffer.from(JSON.stringify(document))),
		layers,
	};
	return { ...(await pushManifest(host, name, manifest)), platform: { os: 'linux', architecture } };
}

/** Pushes an index of images that are in the same repository. */
export function pushIndex(host: string, name: string, manifests: readonly Descriptor[]): Promise<Descriptor> {
	return pushManifest(host, name, { schemaVersion: 2, mediaType: mediaTypes.index, manifests });
}

/** This machine's, as images name it. */
export function nodeArchitecture(): string {
	return process.arch === 'x64' ? 'amd64' : process.arch;
}

export function digestOf(bytes: Buffer): string {
	return `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
}

export async function pushManifest<T extends { readonly mediaType: string }>(host: string, name: string, manifest: T): Promise<Descriptor> {
	const [repository = '', tag = 'latest'] = name.split(':');
	const body = Buffer.from(JSON.stringify(manifest));
	const response = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, { method: 'PUT', headers: { 'content-type': manifest.mediaType }, body });
	if (response.status !== 201) throw new Error(`pushing ${name}: ${response.status} ${await response.text()}`);
	return { mediaType: manifest.mediaType, digest: digestOf(body), size: body.length };
}

export async function pushBlob(host: string, repository: string, mediaType: string, bytes: Buffer): Promise<Descriptor> {
	const digest = digestOf(bytes);
	const started = await fetch(`http://${host}/v2/${repository}/blobs/uploads/`, { method: 'POST' });
	const location = new URL(started.headers.get('location') ?? '', `http://${host}`);
	location.searchParams.set('digest', digest);
	const response = await fetch(location, { method: 'PUT', headers: { 'content-type': 'application/octet-stream' }, body: bytes });
	if (response.status !== 201) throw new Error(`pushing a blob to ${repository}: ${response.status} ${await response.text()}`);
	return { mediaType, digest, size: bytes.length };
}

/** A manifest or index as the registry has it. */
export async function getManifest(host: string, name: string): Promise<{ readonly manifest: Manifest; readonly digest: string; readonly bytes: Buffer }> {
	const [repository = '', tag = 'latest'] = name.split(/[:@](.*)/s);
	const response = await fetch(`http://${host}/v2/${repository}/manifests/${tag}`, { headers: { accept: `${mediaTypes.manifest}, ${mediaTypes.index}, application/vnd.docker.distribution.manifest.v2+json` } });
	const bytes = Buffer.from(await response.arrayBuffer());
	if (response.status !== 200) throw new Error(`reading ${name}: ${response.status} ${bytes.toString()}`);
	return { manifest: JSON.parse(bytes.toString()) as Manifest, digest: digestOf(bytes), bytes };
}

export async function getBlob(host: string, repository: string, digest: string): Promise<Buffer> {
	const response = await fetch(`http://${host}/v2/${repository}/blobs/${digest}`);
	if (response.status !== 200) throw new Error(`reading ${repository}@${digest}: ${response.status}`);
	return Buffer.from(await response.arrayBuffer());
}

/** The config document of an image. */
export async function getConfig(host: string, name: string): Promise<ImageConfig> {
	const { manifest } = await getManifest(host, name);
	return JSON.parse((await getBlob(host, name.split(/[:@]/)[0] ?? '', manifest.config.digest)).toString()) as ImageConfig;
}

export interface ImageConfig {
	readonly architecture: string;
	readonly created?: string;
	readonly config: {
		readonly Env?: readonly string[];
		readonly Cmd?: readonly string[];
		readonly User?: string;
		readonly WorkingDir?: string;
		readonly Entrypoint?: readonly string[];
		readonly Labels?: Readonly<Record<string, string>>;
		readonly ExposedPorts?: Readonly<Record<string, object>>;
	};
	readonly rootfs: { readonly type: string; readonly diff_ids: readonly string[] };
	readonly history: readonly { readonly created_by?: string; readonly empty_layer?: boolean; readonly comment?: string; readonly created?: string }[];
}

function compress(tar: Buffer, compression: Compression): Buffer {
	if (compression === 'uncompressed') return tar;
	return compression === 'gzip' ? gzipSync(tar, { level: 1 }) : execFileSync('zstd', ['-q', '-1', '-c'], { input: tar, maxBuffer: 1 << 30 });
}
