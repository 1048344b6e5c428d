// What converting the instructions of a stage needs to know besides the stage.
import type { Platform, ProxyEnv, SourceMap, State } from '../../src/llb/index.js';
import type { Location } from '../errors.js';
import { rangesOf } from '../errors.js';
import type { Linter } from '../lint/linter.js';
import type { Lex } from '../shell/lex.js';
import type { Config } from '../ui/config.js';
import type { IgnoreMatcher } from '../ui/ignore.js';
import type { Args } from './args.js';

export interface ConvertContext {
	readonly config: Config;
	readonly lex: Lex;
	readonly lint: Linter;
	readonly globalArgs: Args;
	/** Stands for the main context, which is made when all paths used of it are known. */
	readonly buildContext: State;
	readonly ignores?: IgnoreMatcher;
	readonly proxyEnv?: ProxyEnv;
	readonly sourceMap: SourceMap;
	readonly targetPlatform: Platform;
	/** SOURCE_DATE_EPOCH, in seconds. */
	readonly epoch?: number;
	/** Whether the daemon can run what needs a capability. */
	supports(cap: string): boolean;
}

/** The option that says where in the Dockerfile a vertex comes from. */
export function located(context: Pick<ConvertContext, 'sourceMap'>, location: Location): { locations: { sourceMap: SourceMap; ranges: ReturnType<typeof rangesOf> }[] } {
	return { locations: [{ sourceMap: context.sourceMap, ranges: rangesOf(location) }] };
}

/** The image config's idea of a time. */
export function epochTime(epoch: number): string {
	return new Date(epoch * 1000).toISOString().replace('.000Z', 'Z');
}
