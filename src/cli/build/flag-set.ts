// Command line flags with the grammar and the error texts of docker's own parser (spf13/pflag), so that what
// works there works here: `--flag=value`, `--flag value`, `-fvalue`, `-qt name`, `--bool=false`, flags after
// arguments, `--`. Written for this: importing yargs takes 60 ms here, and a fully cached build has 150.

export interface Flag {
	readonly name: string;
	readonly short?: string;
	/** `list` may be given several times; `csv` as well, each value being comma separated. */
	readonly kind: 'bool' | 'string' | 'list' | 'csv';
	/** What help calls the value: docker prints the Go type there. */
	readonly type?: string;
	readonly default?: string;
	/** The only values allowed. */
	readonly choices?: readonly string[];
	readonly help: string;
	/** Accepted, not shown in help. */
	readonly hidden?: boolean;
}

/** A command line that cannot be understood. */
export class UsageError extends Error {
	override readonly name = 'UsageError';
}

const trueWords = new Set(['1', 't', 'T', 'TRUE', 'true', 'True']);
const falseWords = new Set(['0', 'f', 'F', 'FALSE', 'false', 'False']);

/** Go's strconv.ParseBool; undefined for other words. */
export function parseBool(text: string): boolean | undefined {
	if (trueWords.has(text)) return true;
	return falseWords.has(text) ? false : undefined;
}

/** What a command line says. Asking for a flag that is not in the table is a programming error. */
export class ParsedFlags {
	readonly args: string[] = [];
	readonly #values = new Map<string, string[]>();

	constructor(private readonly flags: readonly Flag[]) {}

	bool(name: string): boolean {
		return parseBool(this.string(name)) ?? false;
	}

	/** The last value given, else the default, else ''. */
	string(name: string): string {
		const flag = this.#flag(name);
		return this.#values.get(name)?.at(-1) ?? flag.default ?? '';
	}

	list(name: string): readonly string[] {
		this.#flag(name);
		return this.#values.get(name) ?? [];
	}

	has(name: string): boolean {
		this.#flag(name);
		return this.#values.has(name);
	}

	add(name: string, value: string): void {
		const values = this.#values.get(name);
		if (values) values.push(value);
		else this.#values.set(name, [value]);
	}

	#flag(name: string): Flag {
		const flag = this.flags.find((candidate) => candidate.name === name);
		if (!flag) throw new Error(`no flag --${name}`);
		return flag;
	}
}

/** Throws UsageError. */
export function parseFlags(flags: readonly Flag[], argv: readonly string[]): ParsedFlags {
	const parsed = new ParsedFlags(flags);
	const rest = [...argv];
	for (let arg = rest.shift(); arg !== undefined; arg = rest.shift()) {
		if (arg === '--') {
			parsed.args.push(...rest);
			break;
		}
		if (arg.startsWith('--')) parseLong(flags, arg, rest, parsed);
		else if (arg.startsWith('-') && arg !== '-') parseShorts(flags, arg, rest, parsed);
		else parsed.args.push(arg);
	}
	return parsed;
}

function parseLong(flags: readonly Flag[], arg: string, rest: string[], parsed: ParsedFlags): void {
	const [, name = '', , value] = /^--([^=]*)(=([^]*))?$/.exec(arg) ?? [];
	if (name === '' || name.startsWith('-')) throw new UsageError(`bad flag syntax: ${arg}`);
	const flag = flags.find((candidate) => candidate.name === name);
	if (!flag) throw new UsageError(`unknown flag: --${name}`);
	if (value !== undefined) return set(parsed, flag, value);
	if (flag.kind === 'bool') return set(parsed, flag, 'true');
	const next = rest.shift();
	if (next === undefined) throw new UsageError(`flag needs an argument: --${name}`);
	set(parsed, flag, next);
}

/** `-q`, `-qf file`, `-ffile`, `-f=file`: only the last of the letters may take a value. */
function parseShorts(flags: readonly Flag[], arg: string, rest: string[], parsed: ParsedFlags): void {
	for (let letters = arg.slice(1); letters !== ''; letters = letters.slice(1)) {
		const [letter = ''] = letters;
		const flag = flags.find((candidate) => candidate.short === letter);
		if (!flag) throw new UsageError(`unknown shorthand flag: '${letter}' in -${letters}`);
		if (letters.length > 2 && letters[1] === '=') return set(parsed, flag, letters.slice(2));
		if (flag.kind === 'bool') {
			set(parsed, flag, 'true');
			continue;
		}
		if (letters.length > 1) return set(parsed, flag, letters.slice(1));
		const next = rest.shift();
		if (next === undefined) throw new UsageError(`flag needs an argument: '${letter}' in -${letters}`);
		return set(parsed, flag, next);
	}
}

function set(parsed: ParsedFlags, flag: Flag, value: string): void {
	if (flag.kind === 'bool' && parseBool(value) === undefined) {
		const names = flag.short === undefined ? `--${flag.name}` : `-${flag.short}, --${flag.name}`;
		throw new UsageError(`invalid argument ${JSON.stringify(value)} for "${names}" flag: strconv.ParseBool: parsing ${JSON.stringify(value)}: invalid syntax`);
	}
	if (flag.choices && !flag.choices.includes(value)) {
		throw new UsageError(`invalid argument ${JSON.stringify(value)} for "--${flag.name}" flag: must be one of ${flag.choices.join(', ')}`);
	}
	for (const one of flag.kind === 'csv' ? value.split(',') : [value]) parsed.add(flag.name, one);
}
