// Which rules are on, and who hears of violations.
import type { Location } from '../errors.js';
import { messageOf } from '../errors.js';
import { DirectiveReader } from '../parser/directives.js';
import { parseBool, quote } from '../text/format.js';
import { trimSpace } from '../text/unicode.js';
import type { Rule } from './rules.js';
import { rules, texts } from './rules.js';

export interface LintConfig {
	readonly skipAll?: boolean;
	readonly skip?: readonly string[];
	readonly experimentalAll?: boolean;
	readonly experimental?: readonly string[];
	/** A violation fails the build. */
	readonly error?: boolean;
}

export interface LintWarning {
	readonly rule: Rule;
	readonly message: string;
	readonly location: Location;
}

/**
 * Reads `skip=A,B;error=true;experimental=all`, the value of `# check=` and of BUILDKIT_DOCKERFILE_CHECK.
 * @throws Error with BuildKit's text.
 */
export function parseLintOptions(text: string): LintConfig {
	const trimmed = trimSpace(text);
	if (trimmed === '') return {};
	let config: LintConfig = {};
	for (const part of splitAtMost(trimmed, ';', 3)) {
		const equals = part.indexOf('=');
		if (equals < 0) throw new Error(`invalid check option ${quote(part)}`);
		const key = trimSpace(part.slice(0, equals));
		const value = trimSpace(part.slice(equals + 1));
		const names = value.split(',').map(trimSpace);
		switch (key) {
			case 'skip': config = { ...config, ...(value === 'all' ? { skipAll: true } : { skip: names }) }; break;
			case 'experimental': config = { ...config, ...(value === 'all' ? { experimentalAll: true } : { experimental: names }) }; break;
			case 'error': {
				const error = parseBool(value);
				if (error === undefined) throw new Error(`failed to parse check option ${quote(part)}: strconv.ParseBool: parsing ${quote(value)}: invalid syntax`);
				config = { ...config, error };
				break;
			}
			default: throw new Error(`invalid check option ${quote(key)}`);
		}
	}
	return config;
}

function splitAtMost(text: string, separator: string, count: number): string[] {
	const parts = text.split(separator);
	return parts.length <= count ? parts : [...parts.slice(0, count - 1), parts.slice(count - 1).join(separator)];
}

export class Linter {
	private constructor(
		private readonly config: LintConfig,
		private readonly sink: ((warning: LintWarning) => void) | undefined,
		private readonly violated: Set<string>,
	) {}

	/** Without a sink nothing is checked. */
	static create(config: LintConfig, sink: ((warning: LintWarning) => void) | undefined): Linter {
		return new Linter(config, sink, new Set());
	}

	/** The same with what a comment `# check=...` above an instruction adds. */
	withComments(comments: readonly string[]): Linter {
		for (const comment of comments) {
			const directive = new DirectiveReader('').read(comment);
			if (directive?.name !== 'check') continue;
			let extra: LintConfig;
			try {
				extra = parseLintOptions(directive.value.split(' ', 1)[0] ?? '');
			} catch {
				return this;
			}
			return new Linter({
				skipAll: this.config.skipAll || extra.skipAll || false,
				experimentalAll: this.config.experimentalAll || extra.experimentalAll || false,
				skip: [...(this.config.skip ?? []), ...(extra.skip ?? [])],
				experimental: [...(this.config.experimental ?? []), ...(extra.experimental ?? [])],
				error: this.config.error ?? false,
			}, this.sink, this.violated);
		}
		return this;
	}

	/** Reports a violation, unless the rule is off. */
	report<K extends keyof typeof rules>(key: K, location: Location, ...args: Parameters<typeof texts[K]>): void {
		if (!this.sink) return;
		const rule: Rule = rules[key];
		const { skipAll, skip, experimentalAll, experimental } = this.config;
		const on = rule.experimental ? experimentalAll || experimental?.includes(rule.name) : !skipAll && !skip?.includes(rule.name);
		if (!on) return;
		this.violated.add(rule.name);
		const text = texts[key] as (...values: readonly unknown[]) => string;
		this.sink({ rule, message: text(...args), location });
	}

	/** @throws Error when there were violations and they are to fail the build. */
	check(): void {
		if (this.config.error && this.violated.size > 0) {
			throw new Error(`lint violation found for rules: ${[...this.violated].join(', ')}`);
		}
	}
}

/** @throws Error when `# check=` or the build argument in its place cannot be read. */
export function lintConfig(option: string, source: string): LintConfig {
	try {
		return parseLintOptions(option);
	} catch (error) {
		throw new Error(`failed to parse ${source}: ${messageOf(error)}`, { cause: error });
	}
}
