// One error for whatever goes wrong with a registry: what was asked of whom, what came back, and whether
// asking again may help. The texts are those BuildKit's users know.

export type RegistryErrorKind =
	/** 404: no such repository, tag, manifest or blob. */
	| 'not-found'
	/** 401, or no token to be had. */
	| 'unauthorized'
	/** 403. */
	| 'denied'
	/** 429. */
	| 'rate-limited'
	/** 5xx and 408. */
	| 'server'
	/** No answer, or one that was cut off. */
	| 'network'
	/** An answer that is not what the protocol says. */
	| 'protocol'
	/** Content that is not what its digest or size says. */
	| 'content';

export interface RegistryErrorDetails {
	readonly kind: RegistryErrorKind;
	/** Host and port. */
	readonly registry: string;
	readonly method: string;
	/** URL path, without the query (which may hold secrets). */
	readonly path: string;
	readonly status?: number;
	/** The registry's own errors, from the body. */
	readonly errors?: readonly RegistryReason[];
	/** Milliseconds the registry asked to wait. */
	readonly retryAfter?: number;
	/** Asking again may help. */
	readonly retryable?: boolean;
	readonly cause?: unknown;
}

export interface RegistryReason {
	/** e.g. `MANIFEST_UNKNOWN`. */
	readonly code: string;
	readonly message: string;
}

export class RegistryError extends Error {
	override readonly name = 'RegistryError';
	readonly kind: RegistryErrorKind;
	readonly registry: string;
	readonly method: string;
	readonly path: string;
	readonly status: number | undefined;
	readonly errors: readonly RegistryReason[];
	readonly retryAfter: number | undefined;
	readonly retryable: boolean;

	constructor(message: string, readonly details: RegistryErrorDetails) {
		super(message, { cause: details.cause });
		this.kind = details.kind;
		this.registry = details.registry;
		this.method = details.method;
		this.path = details.path;
		this.status = details.status;
		this.errors = details.errors ?? [];
		this.retryAfter = details.retryAfter;
		this.retryable = details.retryable ?? false;
	}

	/** The same error under another text. */
	withMessage(message: string): RegistryError {
		return new RegistryError(message, { ...this.details, cause: this });
	}
}

export function isRegistryError(error: unknown, ...kinds: readonly RegistryErrorKind[]): error is RegistryError {
	return error instanceof RegistryError && (kinds.length === 0 || kinds.includes(error.kind));
}

/** What was asked, for an error's details. */
export function asked(method: string, url: URL): Pick<RegistryErrorDetails, 'registry' | 'method' | 'path'> {
	return { registry: url.host, method, path: url.pathname };
}

/** A URL for messages: query values may be signatures or tokens. */
export function printableUrl(url: URL): string {
	const printable = new URL(url);
	printable.username = '';
	printable.password = '';
	for (const key of [...printable.searchParams.keys()]) {
		if (key !== 'ns' && key !== 'scope' && key !== 'service') printable.searchParams.set(key, 'REDACTED');
	}
	return printable.href;
}

/** The registry's reasons in an error body (distribution spec, "Error Codes"); none when it is something else. */
export function parseReasons(body: Uint8Array): RegistryReason[] {
	let parsed: unknown;
	try {
		parsed = JSON.parse(Buffer.from(body).toString('utf8'));
	} catch {
		return [];
	}
	const list = (parsed as { errors?: unknown } | null)?.errors;
	if (!Array.isArray(list)) return [];
	return list.slice(0, 16).flatMap((item: unknown) => {
		const { code, message } = (item ?? {}) as { code?: unknown; message?: unknown };
		return typeof code === 'string' ? [{ code, message: typeof message === 'string' ? message : '' }] : [];
	});
}

/** The error for an answer whose status is not the expected one. */
export function statusError(method: string, url: URL, status: number, statusText: string, body: Uint8Array, retryAfter?: number): RegistryError {
	const errors = parseReasons(body);
	const lines = errors.map(({ code, message }) => `${code.toLowerCase().replaceAll('_', ' ')}: ${message}`);
	const wait = retryAfter === undefined ? '' : ` (it asks to wait ${Math.ceil(retryAfter / 1000)} s)`;
	const text = `unexpected status from ${method} request to ${printableUrl(url)}: ${status} ${statusText}${wait}`;
	const kind = kindOfStatus(status);
	return new RegistryError([text, ...lines].join('\n'), {
		...asked(method, url), kind, status, errors, ...(retryAfter !== undefined && { retryAfter }),
		retryable: kind === 'server' || kind === 'rate-limited',
	});
}

function kindOfStatus(status: number): RegistryErrorKind {
	switch (status) {
		case 401: return 'unauthorized';
		case 403: return 'denied';
		case 404: return 'not-found';
		case 429: return 'rate-limited';
		case 408: case 500: case 502: case 503: case 504: return 'server';
		default: return 'protocol';
	}
}
