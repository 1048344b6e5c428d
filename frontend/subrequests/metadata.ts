/** What a subrequest gives back in place of a result: result.json, result.txt, ... */
export type Metadata = ReadonlyMap<string, Uint8Array>;

export function text(value: string): Uint8Array {
	return Buffer.from(value);
}
