// Results of subrequests as JSON, member for member as BuildKit's clients read them: bytes are base64, what is
// empty is left out.
import type { Definition, OpMetadata, SourceInfo } from '../../src/llb/index.js';
import { goJson } from '../../src/llb/index.js';
import type { Location } from '../errors.js';
import { rangesOf } from '../errors.js';

type Json = Record<string, unknown>;

/** Without members that are empty, as Go's omitempty. */
export function omitEmpty(object: Json): Json {
	return Object.fromEntries(Object.entries(object).filter(([, value]) => {
		if (value === undefined || value === '' || value === 0 || value === false) return false;
		return !Array.isArray(value) || value.length > 0;
	}));
}

export function base64(bytes: Uint8Array): string {
	return Buffer.from(bytes).toString('base64');
}

/** A pb.Location. */
export function locationJson(locations: readonly Location[]): Json {
	const ranges = locations.flatMap(rangesOf).map(({ start, end }) => ({ start: omitEmpty({ ...start }), end: omitEmpty({ ...end }) }));
	return omitEmpty({ ranges });
}

function metadataJson(metadata: OpMetadata): Json {
	const object = (map: ReadonlyMap<string, unknown>): Json | undefined => (map.size > 0 ? Object.fromEntries(map) : undefined);
	return omitEmpty({
		ignore_cache: metadata.ignoreCache,
		description: object(metadata.description),
		export_cache: metadata.exportCache && omitEmpty({ Value: metadata.exportCache.Value }),
		caps: object(metadata.caps),
		progress_group: metadata.progressGroup && omitEmpty({ ...metadata.progressGroup }),
	});
}

function definitionJson(definition: Definition): Json {
	return omitEmpty({
		def: definition.def.map(base64),
		metadata: Object.fromEntries([...definition.metadata].map(([digest, metadata]) => [digest, metadataJson(metadata)])),
		Source: definition.Source && {},
	});
}

/** A pb.SourceInfo. */
export function sourceJson(info: SourceInfo): Json {
	return omitEmpty({
		filename: info.filename,
		data: base64(info.data),
		definition: info.definition && definitionJson(info.definition),
		language: info.language,
	});
}

/** Two spaces of indent, and the characters escaped that Go escapes. */
export function encodeJson(value: unknown): Uint8Array {
	return Buffer.from(goJson(value, 2));
}

/** Columns as wide as their widest cell and `gap` spaces; the last one ragged. */
export function table(rows: readonly (readonly string[])[], gap: number): string {
	const widths = (rows[0] ?? []).map((_, column) => Math.max(...rows.map((row) => [...(row[column] ?? '')].length)) + gap);
	return rows.map((row) => `${row.map((cell, i) => (i === row.length - 1 ? cell : cell + ' '.repeat((widths[i] ?? 0) - [...cell].length))).join('')}\n`).join('');
}
