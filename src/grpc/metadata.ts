// The headers of a call as gRPC sees them: several values a name, names in lower case.
import type { OutgoingHttpHeaders } from 'node:http2';

export type OutgoingMetadata = Readonly<Record<string, string | readonly string[]>>;

export class Metadata {
	readonly #values = new Map<string, string[]>();

	/** `raw`: name, value, name, value, ... as http2 has them: its own object joins values with commas. */
	constructor(raw: readonly string[]) {
		for (let i = 0; i + 1 < raw.length; i += 2) {
			const name = raw[i] ?? '';
			const value = raw[i + 1] ?? '';
			const values = this.#values.get(name);
			if (values) values.push(value);
			else this.#values.set(name, [value]);
		}
	}

	/** The first value, as gRPC for Go takes it. */
	get(name: string): string | undefined {
		return this.#values.get(name)?.[0];
	}

	all(name: string): readonly string[] {
		return this.#values.get(name) ?? [];
	}

	names(): readonly string[] {
		return [...this.#values.keys()];
	}
}

export function toHeaders(metadata: OutgoingMetadata): OutgoingHttpHeaders {
	return Object.fromEntries(Object.entries(metadata).map(([name, value]) => [name, typeof value === 'string' ? value : [...value]]));
}
