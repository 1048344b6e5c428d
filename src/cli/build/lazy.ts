// Flags that say how base images are read that stay in a registry.
import { parseBytes } from '../../../frontend/text/size.js';
import type { LazyReadOptions } from '../../builder/index.js';
import type { ParsedFlags } from './flag-set.js';

const units: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** Milliseconds of a duration as Go writes it: `90s`, `1m30s`, `500ms`. */
export function parseDuration(text: string): number {
	const parts = [...text.matchAll(/([0-9]+(?:\.[0-9]+)?)(ms|s|m|h)/g)];
	if (text === '' || parts.map(([part]) => part).join('') !== text) throw new Error(`time: invalid duration ${JSON.stringify(text)}`);
	return parts.reduce((sum, [, number, unit]) => sum + Number(number) * (units[unit ?? ''] ?? 0), 0);
}

/** Throws for values that make no sense. */
export function lazyReadOptions(flags: ParsedFlags): LazyReadOptions {
	const fetchTimeout = parseDuration(flags.string('fetch-timeout'));
	if (fetchTimeout <= 0) throw new Error('--fetch-timeout must be more than nothing');
	return { fetchTimeout, blockCacheSize: parseBytes(flags.string('block-cache-size')), verify: flags.bool('verify') };
}
