// `oci-layout://DIR[:TAG][@DIGEST]`: an image in a layout directory, as a named context.
import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { isDigest, parseIndex } from '../../image/index.js';

const prefix = 'oci-layout://';

export interface LayoutContext {
	/** Value of the frontend's `context:NAME`. */
	readonly attribute: string;
	/** The content store it names, and the directory behind it. */
	readonly storeId: string;
	readonly directory: string;
}

/** Reads such a value; undefined when it is none. Throws when it names nothing. */
export async function layoutContext(value: string): Promise<LayoutContext | undefined> {
	if (!value.startsWith(prefix)) return undefined;
	const reference = parse(value.slice(prefix.length));
	const directory = path.resolve(reference.directory);
	const digest = reference.digest ?? await resolveTag(directory, reference.tag).catch((error: unknown) => {
		throw new Error(`oci-layout reference ${JSON.stringify(value)} could not be resolved: ${(error as Error).message}`, { cause: error });
	});
	const storeId = createHash('sha256').update(directory).digest('hex').slice(0, 25);
	return { attribute: `${prefix}${storeId}${reference.digest === undefined ? `:${reference.tag}` : ''}@${digest}`, storeId, directory };
}

function parse(text: string): { readonly directory: string; readonly tag: string; readonly digest?: string } {
	const at = text.lastIndexOf('@');
	const digest = at < 0 || !isDigest(text.slice(at + 1)) ? undefined : text.slice(at + 1);
	const name = digest === undefined ? text : text.slice(0, at);
	const [, directory = name, tag = 'latest'] = /^(.*):([A-Za-z0-9_][A-Za-z0-9_.-]{0,127})$/s.exec(name) ?? [];
	return { directory, tag, ...(digest !== undefined && { digest }) };
}

/** The manifest a tag names in index.json; in an index of one image that one, whatever it is called. */
async function resolveTag(directory: string, tag: string): Promise<string> {
	const index = parseIndex(await readFile(path.join(directory, 'index.json')), path.join(directory, 'index.json'));
	const named = index.manifests.filter(({ annotations }) => (
		annotations?.['org.opencontainers.image.ref.name'] === tag || annotations?.['io.containerd.image.name']?.endsWith(`:${tag}`)
	));
	const found = named.at(-1) ?? (index.manifests.length === 1 ? index.manifests[0] : undefined);
	if (!found) throw new Error(`failed to resolve digest: no image tagged ${tag} in ${directory}`);
	return found.digest;
}
