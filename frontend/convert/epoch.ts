// SOURCE_DATE_EPOCH: a number of seconds, or the name of something whose time it is to be.
import type { Platform, SourceOp, State } from '../../src/llb/index.js';
import { attr, checkDigest, http, marshal, source } from '../../src/llb/index.js';
import { at } from '../errors.js';
import type { AddCommand, Stage } from '../instructions/types.js';
import type { Lex } from '../shell/lex.js';
import { archiveTime } from '../ui/archive-time.js';
import type { Ui } from '../ui/context.js';
import { singleSource } from '../ui/context.js';
import { gitState } from '../ui/git-ref.js';
import type { Args, BuildArgs } from './args.js';
import { buildArg } from './args.js';
import { asGitRef, httpFilename, isHttpSource } from './copy.js';

export interface EpochContext {
	readonly ui: Ui;
	readonly stages: readonly Stage[];
	readonly args: Args;
	readonly buildArgs: BuildArgs;
	readonly lex: Lex;
	readonly platform: Platform;
}

/**
 * The value in seconds; undefined when there is none to be had.
 * @throws Error when it is neither a number nor the name of a context or stage.
 */
export async function resolveEpoch(value: string, context: EpochContext): Promise<number | undefined> {
	if (value === '') return undefined;
	if (/^[+-]?\d+$/.test(value)) return Number(value);
	const { state, logName } = await findSource(value, context);
	const origin = singleSource(state);
	if (!origin) return undefined;
	const meta = await context.ui.client.resolveSourceMeta?.(origin, { logName });
	if (meta?.gitCommit) return commitTime(meta.gitCommit);
	if (meta?.httpLastModified) return Math.floor(meta.httpLastModified.getTime() / 1000);
	return timeOfDownload(origin, context.ui);
}

/** Where the server does not say when the file was made, its own files may. */
async function timeOfDownload({ identifier, attrs }: SourceOp, { client }: Ui): Promise<number | undefined> {
	const filename = attrs.get(attr.httpFilename);
	if (!isHttpSource(identifier) || filename === undefined) return undefined;
	const ref = await client.solve(marshal(source(identifier, attrs, ['source.http'])));
	return ref && archiveTime(await ref.readFile(filename));
}

async function findSource(value: string, context: EpochContext): Promise<{ state: State; logName: string }> {
	const { ui } = context;
	if (value === 'context') return { state: await ui.mainContext(), logName: '[internal] resolve main build context metadata' };
	const named = ui.namedContext(value, { platform: context.platform, resolveMode: ui.config.resolveMode, followPaths: () => undefined });
	if (named) return { state: (await named.load()).state, logName: `[internal] resolve SOURCE_DATE_EPOCH named context ${value}` };
	const stage = context.stages.find(({ name }) => name.toLowerCase() === value.toLowerCase());
	if (!stage) throw new Error(`invalid SOURCE_DATE_EPOCH: ${value}`);
	const state = at(stage.location, () => stageSource(stage, context));
	return { state, logName: `[internal] resolve SOURCE_DATE_EPOCH source stage ${stage.name}` };
}

/** What such a stage adds: it may hold nothing but ARGs and one remote ADD on scratch. */
function stageSource(stage: Stage, { args, buildArgs, lex }: EpochContext): State {
	const env = new Map(args);
	env.delete('SOURCE_DATE_EPOCH');
	if (lex.expand(stage.baseName, env) !== 'scratch') throw new Error('SOURCE_DATE_EPOCH stage must use FROM scratch');
	let source: State | undefined;
	for (const command of stage.commands) {
		if (command.kind === 'arg') {
			for (const { key, value } of command.args) {
				const given = buildArg(buildArgs, key) ?? (value === undefined ? undefined : lex.expand(value, env));
				if (given !== undefined) env.set(key, given);
			}
		} else if (command.kind === 'add') {
			if (source) throw new Error('SOURCE_DATE_EPOCH stage must contain exactly one remote ADD');
			source = addSource(command, (word) => lex.expand(word, env));
		} else {
			throw new Error(`SOURCE_DATE_EPOCH stage does not meet source-only requirements: unsupported ${command.name} instruction`);
		}
	}
	if (!source) throw new Error('SOURCE_DATE_EPOCH stage must contain exactly one remote ADD');
	return source;
}

function addSource(command: AddCommand, expand: (word: string) => string): State {
	const [written] = command.sources;
	if (written === undefined || command.inline.length > 0 || command.sources.length !== 1) {
		throw new Error('SOURCE_DATE_EPOCH stage must contain exactly one remote ADD source');
	}
	const source = expand(written);
	const checksum = expand(command.checksum);
	if (isHttpSource(source)) {
		if (checksum !== '') checkDigest(checksum);
		return http(source, { filename: httpFilename(source), ...(checksum === '' ? {} : { checksum }) });
	}
	const git = asGitRef(source);
	if (!git) throw new Error('SOURCE_DATE_EPOCH stage source must be a single HTTP(S) or Git ADD');
	return gitState({ ...git, checksum: checksum || git.checksum, keepGitDir: (command.keepGitDir || git.keepGitDir) ?? false });
}

/** Seconds in the `committer` line of a commit object. */
function commitTime(object: Uint8Array): number | undefined {
	const match = /^committer .*> (\d+) [+-]\d{4}$/m.exec(Buffer.from(object).toString());
	return match ? Number(match[1]) : undefined;
}
