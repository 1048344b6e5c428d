// `--file URL`: the Dockerfile is got before the build, as buildx does it.

/** As buildx: no Dockerfile is larger. */
const maxBytes = 2 * 1024 * 1024;
/** Time for the whole of it. */
const timeoutMs = 60_000;

/** The content of a Dockerfile at an http(s) URL. Throws errors that name the URL, and the status where there is one. */
export async function downloadDockerfile(url: string, signal: AbortSignal): Promise<Buffer> {
	const { pathname } = new URL(url);
	const timeout = AbortSignal.timeout(timeoutMs);
	const failed = (reason: string, cause?: unknown): Error => new Error(`failed to load ${withoutCredentials(url)}: ${reason}`, { cause });
	try {
		const response = await fetch(withoutCredentials(url), { headers: authorization(url), signal: AbortSignal.any([signal, timeout]) });
		if (!response.ok) {
			await response.body?.cancel();
			throw failed(`invalid response status ${response.status}`);
		}
		const chunks: Uint8Array[] = [];
		let size = 0;
		for await (const chunk of response.body ?? []) {
			size += (chunk as Uint8Array).length;
			if (size > maxBytes) throw failed(`Dockerfile ${pathname} bigger than allowed max size (2MB)`);
			chunks.push(chunk as Uint8Array);
		}
		return Buffer.concat(chunks);
	} catch (error) {
		signal.throwIfAborted();
		if (timeout.aborted) throw failed(`no answer within ${timeoutMs / 1000} seconds`, error);
		if (!(error instanceof TypeError)) throw error;
		// fetch says what happened in the cause.
		throw failed((error.cause as Error | undefined)?.message ?? error.message, error);
	}
}

/** fetch takes no credentials in a URL; they go into the head of the request. */
function authorization(url: string): Record<string, string> {
	const { username, password } = new URL(url);
	if (username === '' && password === '') return {};
	const pair = `${decodeURIComponent(username)}:${decodeURIComponent(password)}`;
	return { authorization: `Basic ${Buffer.from(pair).toString('base64')}` };
}

function withoutCredentials(url: string): string {
	const bare = new URL(url);
	bare.username = '';
	bare.password = '';
	return bare.href;
}
