// `attest:provenance` and `attest:sbom`, as frontends' attributes have them.
import { csvFields } from '../../../frontend/text/csv.js';
import type { predicateTypes } from './predicate.js';

export interface ProvenanceOptions {
	readonly mode: 'min' | 'max';
	readonly version: keyof typeof predicateTypes;
	readonly inlineOnly: boolean;
	readonly builderId: string;
	readonly reproducible: boolean;
	/** The build fails when something it used cannot be named. */
	readonly completeMaterials: boolean;
	readonly filename: string;
}

/** What attestations a request wants; undefined for none. Throws for those obd does not make. */
export function provenanceOptions(attributes: Readonly<Record<string, string>>): ProvenanceOptions | undefined {
	const wanted = new Map(Object.entries(attributes).flatMap(([key, value]): (readonly [string, string])[] => {
		const [, type] = /^(?:attest:|build-arg:BUILDKIT_ATTEST_)(.+)$/.exec(key) ?? [];
		return type === undefined ? [] : [[type.toLowerCase(), value]];
	}));
	for (const type of wanted.keys()) {
		if (type === 'sbom') throw new Error('attestation type "sbom" is not supported by obd: it takes a scanner image; make one of the finished image instead');
		if (type !== 'provenance') throw new Error(`unknown attestation type ${JSON.stringify(type)}`);
	}
	const value = wanted.get('provenance');
	return value === undefined ? undefined : parseProvenance(value);
}

/** What is said where nobody asks for less. */
export const defaultProvenance: ProvenanceOptions = parseProvenance('');

function parseProvenance(value: string): ProvenanceOptions {
	const fields = new Map((value === '' ? [] : csvFields(value)).map((field) => {
		const [key = '', text = ''] = field.split(/=(.*)/s);
		return [key, text] as const;
	}));
	const mode = fields.get('mode') ?? 'max';
	if (!['min', 'max', 'full'].includes(mode)) throw new Error(`invalid mode ${JSON.stringify(mode)}`);
	const version = fields.get('version') ?? 'v1';
	if (version !== 'v1' && version !== 'v0.2') throw new Error(version === '' ? 'provenance SLSA version cannot be empty' : `invalid provenance SLSA version: ${version}`);
	return {
		mode: mode === 'min' ? 'min' : 'max',
		version,
		inlineOnly: isTrue(fields.get('inline-only')),
		builderId: fields.get('builder-id') ?? '',
		reproducible: bool('reproducible', fields.get('reproducible')),
		completeMaterials: bool('complete-materials', fields.get('complete-materials')),
		filename: fields.get('filename') ?? 'provenance.json',
	};
}

function isTrue(text: string | undefined): boolean {
	return text !== undefined && ['1', 't', 'T', 'true', 'TRUE', 'True'].includes(text);
}

function bool(key: string, text: string | undefined): boolean {
	if (text === undefined || ['0', 'f', 'F', 'false', 'FALSE', 'False'].includes(text)) return false;
	if (isTrue(text)) return true;
	throw new Error(`failed to parse ${key} flag ${JSON.stringify(text)}: strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
}
