// The history of an image: one entry an instruction.
import type { ArgDefinition } from '../instructions/types.js';
import type { Env } from '../shell/lex.js';
import type { ConvertContext } from './context.js';
import { epochTime } from './context.js';
import type { StageState } from './stage.js';

/** Adds an entry. Those made by a step that runs are marked as BuildKit marks them. */
export function commit(stage: StageState, context: ConvertContext | undefined, message: string, options: { layer?: boolean; step?: boolean } = {}): void {
	(stage.image.history ??= []).push({
		...(context?.epoch === undefined ? {} : { created: epochTime(context.epoch) }),
		created_by: options.step ? `${message} # buildkit` : message,
		comment: 'buildkit.dockerfile.v0',
		empty_layer: !options.layer,
	});
}

/** The command of a RUN, with the build arguments it could see in front: `|1 A=b /bin/sh -c ...`. */
export function runMessage(args: readonly string[], buildArgs: readonly ArgDefinition[], env: Env): string {
	const seen = new Map<string, string>();
	for (const { key, value } of buildArgs) seen.set(key, `${key}=${env.get(key) ?? value ?? ''}`);
	return [...(seen.size > 0 ? [`|${seen.size}`, ...seen.values()] : []), ...args].join(' ');
}
