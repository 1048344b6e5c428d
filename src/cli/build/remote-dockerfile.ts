// `--file URL`: the Dockerfile is got before the build, as buildx does it.
import { Transport } from '../../registry/index.js';
import { bodyOf, redactCredentials, sendRequest } from '../../sources/index.js';

/** As buildx: no Dockerfile is larger. */
const maxBytes = 2 * 1024 * 1024;

/** The content of a Dockerfile at an http(s) URL. Throws errors that name the URL, and the status where there is one. */
export async function downloadDockerfile(address: string, signal: AbortSignal): Promise<Buffer> {
	const url = new URL(address);
	const failed = (reason: string, cause?: unknown): Error => new Error(`failed to load ${redactCredentials(url.href)}: ${reason}`, { cause });
	const response = await sendRequest(new Transport(), { method: 'GET', url, headers: authorization(url), signal }).catch((error: unknown) => {
		signal.throwIfAborted();
		throw failed((error as Error).message, error);
	});
	if (response.status < 200 || response.status >= 400) {
		response.body.destroy();
		throw failed(`invalid response status ${response.status}`);
	}
	const chunks: Buffer[] = [];
	let size = 0;
	for await (const chunk of bodyOf(response) as AsyncIterable<Buffer>) {
		size += chunk.length;
		if (size > maxBytes) throw failed(`Dockerfile ${url.pathname} bigger than allowed max size (2MB)`);
		chunks.push(chunk);
	}
	return Buffer.concat(chunks);
}

/** The credentials of a URL, as a browser or Go sends them. */
function authorization({ username, password }: URL): Record<string, string> {
	if (username === '' && password === '') return {};
	return { authorization: `Basic ${Buffer.from(`${decodeURIComponent(username)}:${decodeURIComponent(password)}`).toString('base64')}` };
}
