// The flags of an instruction.
import { withSuggestion } from '../text/suggest.js';

type Kind = 'bool' | 'string' | 'strings';

/** Flags an instruction knows, by name. The order is the one suggestions are tried in. */
export type FlagKinds = Readonly<Record<string, Kind>>;

export class Flags {
	private readonly values = new Map<string, string[]>();

	/**
	 * @throws Error when a flag is unknown, given twice, or its value is missing or wrong.
	 */
	constructor(args: readonly string[], kinds: FlagKinds) {
		for (const arg of args) {
			if (arg === '--') return;
			if (!arg.startsWith('--')) throw new Error(`arg should start with -- : ${arg}`);
			const equals = arg.indexOf('=');
			const flag = equals < 0 ? arg : arg.slice(0, equals);
			this.add(flag, equals < 0 ? undefined : arg.slice(equals + 1), kinds);
		}
	}

	private add(flag: string, value: string | undefined, kinds: FlagKinds): void {
		const name = flag.slice(2);
		const kind = Object.hasOwn(kinds, name) ? kinds[name] : undefined;
		if (!kind) throw new Error(withSuggestion(`unknown flag: ${flag}`, name, Object.keys(kinds), true));
		const before = this.values.get(name);
		if (before && kind !== 'strings') throw new Error(`duplicate flag specified: ${flag}`);
		if (kind === 'bool' ? value === '' : value === undefined) throw new Error(`missing a value on flag: ${flag}`);
		if (kind === 'bool' && !['true', 'false', undefined].includes(value?.toLowerCase())) {
			throw new Error(`expecting boolean value for flag ${flag}, not: ${value}`);
		}
		this.values.set(name, [...(before ?? []), kind === 'bool' ? (value ?? 'true').toLowerCase() : value ?? '']);
	}

	string(name: string): string {
		return this.values.get(name)?.[0] ?? '';
	}

	strings(name: string): readonly string[] {
		return this.values.get(name) ?? [];
	}

	/** undefined when the flag is not given. */
	optionalBool(name: string): boolean | undefined {
		const value = this.values.get(name)?.[0];
		return value === undefined ? undefined : value === 'true';
	}

	bool(name: string): boolean {
		return this.optionalBool(name) ?? false;
	}
}
