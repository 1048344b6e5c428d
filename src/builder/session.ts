// The session of a build that runs in its client's own process: everything it lends is read right here.
import { readFile } from 'node:fs/promises';
import type { BuildSession, LocalDirectory, SshSocket } from '../session/index.js';
import type { BuildRequest } from './request.js';

/** Secrets are small by nature; BuildKit refuses more than this as well. */
const maxSecretBytes = 500 * 1024;

export class LocalSession implements BuildSession {
	constructor(
		private readonly request: Pick<BuildRequest, 'localDirectories' | 'secrets' | 'ssh'>,
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

	sshAgent(id: string): Promise<SshSocket | undefined> {
		if (this.request.ssh[id]) throw new Error('SSH forwarding (--ssh) is not supported by obd yet');
		return Promise.resolve(undefined);
	}
}
