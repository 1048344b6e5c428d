// The session of a build that runs in its client's own process: everything it lends is read right here.
import { readFile } from 'node:fs/promises';
import { directoryStore, lendAgent, type BuildSession, type ContentStore, type LocalDirectory, type SshSocket, type SshSocketOptions } from '../session/index.js';
import type { BuildRequest } from './request.js';

/** Secrets are small by nature; BuildKit refuses more than this as well. */
const maxSecretBytes = 500 * 1024;

export class LocalSession implements BuildSession {
	constructor(
		private readonly request: Pick<BuildRequest, 'localDirectories' | 'secrets' | 'ssh' | 'contentStores' | 'uploads'>,
		/** Names the stat cache file of a directory. */
		private readonly statCacheOf: (directory: string) => Promise<string>,
	) {}

	async localDirectory(name: string): Promise<LocalDirectory> {
		const root = this.request.localDirectories[name];
		if (root === undefined) throw new Error(`no access allowed to dir "${name}"`);
		return { root, statCache: await this.statCacheOf(root) };
	}

	async secret(id: string): Promise<Uint8Array | undefined> {
		const secret = this.request.secrets[id];
		if (!secret) return undefined;
		const data = 'file' in secret ? await readFile(secret.file) : Buffer.from(process.env[secret.env] ?? '');
		if (data.length > maxSecretBytes) throw new Error(`invalid secret size ${data.length}: secret ${id} may have up to ${maxSecretBytes} bytes`);
		return data;
	}

	async sshAgent(id: string, options: SshSocketOptions): Promise<SshSocket | undefined> {
		const name = id || 'default';
		const paths = this.request.ssh[name];
		if (!paths) throw new Error(`unset ssh forward key ${name}`);
		return lendAgent(paths, options);
	}

	contentStore(id: string): Promise<ContentStore> {
		const directory = this.request.contentStores[id];
		return directory === undefined ? Promise.reject(new Error(`no content store "${id}" is lent to this build`)) : Promise.resolve(directoryStore(directory));
	}

	upload(path: string): Promise<AsyncIterable<Uint8Array>> {
		const content = this.request.uploads?.[path];
		return content ? Promise.resolve(content) : Promise.reject(new Error(`nothing is uploaded under ${path}`));
	}
}
