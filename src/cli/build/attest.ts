// --attest, --provenance, --sbom: which attestations the result gets.
import { csvFields } from '../../../frontend/text/csv.js';
import { parseBool } from './flag-set.js';

interface AttestFlags {
	readonly attest: readonly string[];
	/** '' when not given. */
	readonly provenance: string;
	readonly sbom: string;
}

/** Frontend attributes `attest:TYPE`; of several for one type the last counts. Throws docker's errors. */
export function attestAttributes({ attest, provenance, sbom }: AttestFlags): Record<string, string> {
	const wanted = new Map<string, string | undefined>();
	const values = [...attest, canonical('provenance', provenance), canonical('sbom', sbom)].filter((value) => value !== '');
	for (const value of values) {
		const { type, disabled, attributes } = parse(value);
		wanted.set(type, disabled ? undefined : attributes);
	}
	if (wanted.get('sbom') !== undefined) throw new Error('attestation type "sbom" is not supported by obd: it takes a scanner image; make one of the finished image instead');
	return Object.fromEntries([...wanted].flatMap(([type, attributes]) => (attributes === undefined ? [] : [[`attest:${type}`, attributes]])));
}

/** `--provenance=true`, `--provenance=mode=max` in the words of `--attest`. */
function canonical(type: string, value: string): string {
	if (value === '') return '';
	const on = parseBool(value);
	return on === undefined ? `type=${type},${value}` : `type=${type},disabled=${!on}`;
}

function parse(value: string): { readonly type: string; readonly disabled: boolean; readonly attributes: string } {
	let type = '';
	let disabled = false;
	const others: string[] = [];
	for (const field of csvFields(value)) {
		const [key = '', text] = field.split(/=(.*)/s);
		if (text === undefined) throw new Error(`invalid value ${field}`);
		switch (key.trim().toLowerCase()) {
			case 'type': type = text; break;
			case 'disabled': {
				const parsed = parseBool(text);
				if (parsed === undefined) throw new Error(`invalid value ${field}: strconv.ParseBool: parsing ${JSON.stringify(text)}: invalid syntax`);
				disabled = parsed;
				break;
			}
			default: others.push(/[",]/.test(field) ? `"${field.replaceAll('"', '""')}"` : field);
		}
	}
	if (type === '') throw new Error('attestation type not specified');
	return { type, disabled, attributes: others.join(',') };
}
