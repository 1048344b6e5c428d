// A Dockerfile to LLB: its stages found, their bases resolved, their instructions applied.
import type { Output, Platform, SourceMap } from '../../src/llb/index.js';
import { normalizePlatform, parsePlatform, samePlatform, State } from '../../src/llb/index.js';
import type { Location } from '../errors.js';
import { at, LocationError, messageOf, nowhere, rewordError, setLocation, withLocation } from '../errors.js';
import type { Image } from '../image.js';
import { defaultPathOf, platformOfImage, setPlatformOfImage } from '../image.js';
import { mountFrom } from '../instructions/mount.js';
import { parseInstructions, parseTrigger } from '../instructions/parse.js';
import type { Command, Instructions, Stage } from '../instructions/types.js';
import type { LintWarning } from '../lint/linter.js';
import { Linter, lintConfig } from '../lint/linter.js';
import { findDirective } from '../parser/directives.js';
import { parse } from '../parser/parse.js';
import type { LexResult } from '../shell/lex.js';
import { emptyEnv, Lex } from '../shell/lex.js';
import { quote } from '../text/format.js';
import { suggest, withSuggestion } from '../text/suggest.js';
import { isNoCache } from '../ui/config.js';
import type { Ui } from '../ui/context.js';
import { IgnoreMatcher } from '../ui/ignore.js';
import { followPathsOf } from '../ui/named-context.js';
import type { Args, Platforms } from './args.js';
import { buildArg, globalArgs, predefinedArgs, proxyEnv } from './args.js';
import { BaseResolver, scratchName } from './base.js';
import { checkCasing, checkCircles, checkDefaultBases, checkFromPlatform, checkStageNames, checkUndefinedInFrom } from './checks.js';
import type { ConvertContext } from './context.js';
import { dispatch, setUser, setWorkdir, splitEnv } from './dispatch.js';
import { resolveEpoch } from './epoch.js';
import type { ArgInfo } from './outline.js';
import { Outline } from './outline.js';
import type { StageCommand } from './stage.js';
import { imageStage, reachableFrom, Stages, StageState } from './stage.js';

export interface ConvertOptions {
	readonly ui: Ui;
	readonly sourceMap: SourceMap;
	/** undefined: that of the builder, or of the base image if it is for another. */
	readonly targetPlatform?: Platform;
	readonly warn?: (warning: LintWarning) => void;
	/** Convert every stage, needed or not: for --check. */
	readonly allStages?: boolean;
}

export interface Converted {
	readonly target: StageState;
	/** SOURCE_DATE_EPOCH, in seconds. */
	readonly epoch?: number;
}

/** An image may name itself in its own triggers; BuildKit follows them for ever. */
const maxTriggerRounds = 16;
const maxTriggerStages = 10_000;

/** The main context, made when it is known what is used of it. */
class LateContext {
	private output: Output | undefined;

	readonly state = State.from(this.placeholder());

	private placeholder(): Output {
		const get = (): Output => {
			if (!this.output) throw new Error('the build context is used before it is known');
			return this.output;
		};
		return { get vertex() { return get().vertex; }, get index() { return get().index; } };
	}

	set(state: State): void {
		this.output = state.output;
	}
}

class Converter {
	private readonly stages = new Stages();
	private readonly lex: Lex;
	private readonly lint: Linter;
	private readonly platforms: Platforms;
	private args: Args = new Map();
	private infos: Map<string, ArgInfo> = new Map();
	private epoch: number | undefined;
	private readonly buildArgs: Record<string, string>;
	private readonly instructions: Instructions;
	private readonly bases: BaseResolver;

	constructor(readonly options: ConvertOptions) {
		const { ui, sourceMap } = options;
		const text = Buffer.from(sourceMap.data).toString();
		if (text === '') throw new Error('the Dockerfile cannot be empty');
		const check = findDirective('check', text)?.value ?? '';
		this.lint = Linter.create(ui.config.lint ?? lintConfig(check, 'check options'), options.warn);
		const file = parse(text);
		for (const line of file.emptyContinuations) this.lint.report('noEmptyContinuation', { start: line, end: line });
		this.lex = new Lex(file.escape);
		this.instructions = parseInstructions(file.nodes, this.lint);
		const { buildPlatform } = ui.config;
		this.platforms = { build: buildPlatform, target: options.targetPlatform ?? buildPlatform, implicitTarget: !options.targetPlatform };
		this.buildArgs = { ...ui.config.buildArgs };
		this.bases = new BaseResolver(options, this.platforms, this.stages, this.lint);
	}

	async convert(): Promise<Converted> {
		const { stages } = this.instructions;
		const last = stages.at(-1);
		if (!last) throw new Error('dockerfile contains no stages to build');
		checkStageNames(stages, this.lint);
		checkCasing(stages, this.lint);
		await this.resolveArgs(last);
		for (const [index, stage] of stages.entries()) this.addStage(stage, index);
		const target = this.findTarget();
		this.link();
		const reachable = await this.resolve(target);
		const buildContext = new LateContext();
		const used = await this.dispatchAll(reachable, buildContext.state);
		// All of the result is used; known only now, so that what the stages use of each other was not hidden by it.
		target.paths.add('/');
		this.finish(target);
		this.lint.check();
		buildContext.set(await this.options.ui.mainContext(followPathsOf(used)));
		return { target, ...(this.epoch === undefined ? {} : { epoch: this.epoch }) };
	}

	private async resolveArgs(last: Stage): Promise<void> {
		const { ui } = this.options;
		const { stages, metaArgs } = this.instructions;
		const predefined = predefinedArgs(this.platforms, this.buildArgs, ui.config.target || last.name);
		checkDefaultBases(stages, this.lex, predefined, metaArgs, this.lint);
		const global = globalArgs(predefined, this.lex, metaArgs, this.buildArgs);
		this.args = global.args;
		this.infos = global.infos;
		await this.resolveEpoch();
	}

	/** SOURCE_DATE_EPOCH may name a stage or context whose time it is; from here on it is a number. */
	private async resolveEpoch(): Promise<void> {
		const name = 'SOURCE_DATE_EPOCH';
		const value = buildArg(this.buildArgs, name) ?? (this.args.get(name) || undefined);
		if (value === undefined) return;
		this.epoch = await resolveEpoch(value, {
			ui: this.options.ui, stages: this.instructions.stages, args: this.args, buildArgs: this.buildArgs, lex: this.lex, platform: this.platforms.target,
		});
		const resolved = this.epoch === undefined ? undefined : String(this.epoch);
		if (Object.hasOwn(this.buildArgs, name)) {
			if (resolved === undefined) delete this.buildArgs[name];
			else this.buildArgs[name] = resolved;
		}
		const args = new Map(this.args);
		if (args.delete(name) && resolved !== undefined) args.set(name, resolved);
		this.args = args;
	}

	private addStage(stage: Stage, index: number): void {
		const lint = this.lint.withComments(stage.comments);
		const { location } = stage;
		const known = new Set([...this.infos.keys(), ...this.args.keys()]);
		const base = at(location, () => this.lex.process(stage.baseName, this.args));
		checkUndefinedInFrom(known, base.unmatched, location, lint);
		if (base.text === '') throw new LocationError(`base name (${stage.baseName}) should not be blank`, [location]);
		const state = new StageState(stage, new Outline(new Map(this.infos)));
		state.baseName = base.text;
		const used = new Set(base.matched);
		if (stage.platform !== '') {
			state.platform = this.stagePlatform(stage, known, lint, used);
		}
		if (stage.name !== '') {
			const context = this.bases.namedContext(stage.name, state.platform, state);
			if (context) {
				state.namedContext = context;
				this.stages.add(state);
				delete state.base;
				return;
			}
		}
		if (stage.name === '') state.name = `stage-${index}`;
		this.stages.add(state);
		for (const name of used) state.outline.usedArgs.add(name);
		const steps = stage.commands.filter(({ kind }) => ['add', 'copy', 'run', 'workdir'].includes(kind)).length;
		state.commandTotal = steps + (state.baseName !== scratchName && !state.base ? 1 : 0);
		state.ignoreCache = isNoCache(this.options.ui.config, stage.name);
	}

	private stagePlatform(stage: Stage, known: ReadonlySet<string>, lint: Linter, used: Set<string>): Platform {
		const { location, platform: written } = stage;
		let result: LexResult;
		try {
			result = this.lex.process(written, this.args);
		} catch (error) {
			throw new LocationError(`failed to process arguments for platform : ${messageOf(error)}`, [location], { cause: error });
		}
		checkUndefinedInFrom(known, result.unmatched, location, lint);
		checkFromPlatform(written, result, stage, this.args, lint);
		if (result.text === '') {
			throw this.suggestArg(new LocationError(`empty platform value from expression ${written}`, [location]), result.unmatched);
		}
		try {
			for (const name of result.matched) used.add(name);
			return parsePlatform(result.text);
		} catch (error) {
			const located = this.suggestArg(withLocation(error, location), result.unmatched);
			throw withLocation(rewordError(located, `failed to parse platform ${written}: ${messageOf(located)}`), location);
		}
	}

	/** Names an argument that may have been meant. */
	private suggestArg(error: LocationError, unmatched: ReadonlySet<string>): Error {
		for (const name of unmatched) {
			const match = suggest(name, this.args.keys(), true);
			if (match) return rewordError(error, `${error.message} (did you mean ${match}?)`);
		}
		return error;
	}

	private findTarget(): StageState {
		const name = this.options.ui.config.target;
		const target = name === '' ? this.stages.all.at(-1) : this.stages.find(name);
		if (!target) throw new Error(withSuggestion(`target stage ${quote(name)} could not be found`, name, this.stages.names(), true));
		return target;
	}

	/** Finds which stages depend on which. */
	private link(): void {
		for (const stage of [...this.stages.all]) {
			stage.commands = stage.stage.commands.map((command) => this.linkCommand(stage, command, false));
		}
		checkCircles(this.stages.all);
		const [only] = this.stages.all;
		if (only && this.stages.all.length === 1) only.name = '';
	}

	private linkCommand(stage: StageState, command: Command, onbuild: boolean): StageCommand {
		const sources = this.sourcesOf(command);
		for (const source of sources) {
			stage.deps.set(source, command);
			if (source.unregistered) this.stages.add(source);
		}
		return { command, sources, onbuild };
	}

	private sourcesOf(command: Command): StageState[] {
		if (command.kind === 'copy' && command.from !== '') return [this.copySource(command.from, command.location)];
		if (command.kind !== 'run') return [];
		return command.mounts.map((mount) => {
			const from = mountFrom(mount) || scratchName;
			return this.stages.find(from) ?? imageStage(from, nowhere);
		});
	}

	/** --from: an index, the name of a stage, or an image. */
	private copySource(from: string, location: Location): StageState {
		if (this.lex.expand(from, emptyEnv) !== from) {
			throw new Error('variable expansion is not supported for --from, define a new stage with FROM using ARG from global scope as a workaround');
		}
		if (/^[+-]?\d+$/.test(from)) return this.stages.at(Number(from));
		return this.stages.find(from) ?? imageStage(from, location);
	}

	/** Resolves base images; ONBUILD triggers they bring may need further ones. */
	private async resolve(target: StageState): Promise<Set<StageState>> {
		const limit = this.stages.all.length + maxTriggerStages;
		for (let round = 0; ; round++) {
			if (round > maxTriggerRounds || this.stages.all.length > limit) {
				throw new LocationError(`ONBUILD triggers of base images nest more than ${maxTriggerRounds} deep: does one copy from an image with the same trigger?`, [target.stage.location]);
			}
			const reachable = reachableFrom(target);
			await Promise.all([...this.stages.all].map((stage) => this.bases.resolve(stage, this.options.allStages || reachable.has(stage))));
			let again = false;
			// A base before what is built on it: triggers may hold triggers.
			for (const stage of [...this.stages.all]) if (reachable.has(stage)) again = this.addTriggers(stage) || again;
			if (!again) return reachable;
		}
	}

	/** Returns whether the triggers bring new dependencies. */
	private addTriggers(stage: StageState): boolean {
		stage.inherit();
		const triggers = [...(stage.image.config.OnBuild ?? [])];
		if (stage.base && !stage.onbuildInit) {
			for (const { command } of stage.base.commands) if (command.kind === 'onbuild') triggers.push(command.expression);
			stage.onbuildInit = true;
		}
		if (triggers.length === 0) return false;
		delete stage.image.config.OnBuild;
		try {
			const commands = triggers.map((trigger) => this.trigger(stage, trigger));
			stage.commands = [...commands, ...stage.commands];
			stage.commandTotal += commands.length;
			return commands.some((command) => command.sources.length > 0);
		} catch (error) {
			throw setLocation(error, stage.stage.location);
		}
	}

	private trigger(stage: StageState, text: string): StageCommand {
		const [node, ...more] = parse(text).nodes;
		if (!node || more.length > 0) throw new Error('onbuild trigger should be a single expression');
		return this.linkCommand(stage, parseTrigger({ ...node, location: stage.stage.location }), true);
	}

	/** Applies the instructions of all stages that are needed; returns what they use of the main context. */
	private async dispatchAll(reachable: ReadonlySet<StageState>, buildContext: State): Promise<Set<string>> {
		const { ui, sourceMap, allStages } = this.options;
		const patterns = await ui.ignorePatterns();
		const proxy = proxyEnv(this.buildArgs);
		const { llbCaps } = ui.client;
		const context: ConvertContext = {
			config: { ...ui.config, buildArgs: this.buildArgs },
			lex: this.lex,
			lint: this.lint,
			globalArgs: this.args,
			buildContext,
			sourceMap,
			targetPlatform: this.platforms.target,
			supports: (cap) => llbCaps?.has(cap) ?? true,
			...(patterns.length > 0 ? { ignores: new IgnoreMatcher(patterns) } : {}),
			...(proxy ? { proxyEnv: proxy } : {}),
			...(this.epoch === undefined ? {} : { epoch: this.epoch }),
		};
		const used = new Set<string>();
		for (const stage of [...this.stages.all]) {
			if (!allStages && (!reachable.has(stage) || stage.dispatched)) continue;
			stage.inherit();
			stage.dispatched = true;
			this.prepare(stage);
			for (const entry of stage.commands) at(entry.command.location, () => dispatch(stage, entry, context));
			for (const path of stage.contextPaths) used.add(path);
		}
		return used;
	}

	/** Environment, directory and user as the base image has them. */
	private prepare(stage: StageState): void {
		const { config: options } = this.options.ui;
		const platform = (stage.platform ??= this.platforms.target);
		const { config } = stage.image;
		const env = config.Env ?? [];
		if (platform.os !== 'windows' && !env.some((entry) => splitEnv(entry)[0] === 'PATH')) {
			config.Env = [...env, `PATH=${defaultPathOf(platform.os)}`];
		}
		stage.state = stage.state.addEnv((config.Env ?? []).map(splitEnv));
		if (options.hostname !== '') stage.state = stage.state.withMeta({ hostname: options.hostname });
		at(stage.stage.location, () => {
			if (config.WorkingDir) setWorkdir(stage, config.WorkingDir, platform);
			if (config.User) setUser(stage, config.User);
		});
		stage.state = stage.state.withMeta({ network: options.networkMode });
	}

	/** Labels of the command line, and the platform that was asked for. */
	private finish({ image }: StageState): void {
		const { labels } = this.options.ui.config;
		if (Object.keys(labels).length > 0) image.config.Labels = Object.fromEntries([...Object.entries(image.config.Labels ?? {}), ...Object.entries(labels)]);
		if (!this.platforms.implicitTarget) this.setTargetPlatform(image);
		setPlatformOfImage(image, normalizePlatform(platformOfImage(image)));
	}

	private setTargetPlatform(image: Image): void {
		const { target } = this.platforms;
		const same = samePlatform({ os: target.os, architecture: target.architecture }, { os: image.os, architecture: image.architecture });
		setPlatformOfImage(image, {
			os: target.os,
			architecture: target.architecture,
			...orKeep('variant', target.variant, same, image.variant),
			...orKeep('osVersion', target.osVersion, same, image['os.version']),
			...(target.osFeatures ? { osFeatures: target.osFeatures } : {}),
		});
	}
}

/** What the target says; the image's own only when it is for the same system. */
function orKeep<K extends string>(name: K, wanted: string | undefined, same: boolean, own: string | undefined): { [P in K]?: string } {
	const value = wanted || (same ? own : undefined);
	return (value ? { [name]: value } : {}) as { [P in K]?: string };
}

/**
 * Converts a Dockerfile for one platform.
 * @throws LocationError with BuildKit's text, or Error where no place in the file is to blame.
 */
export async function convert(options: ConvertOptions): Promise<Converted> {
	return new Converter(options).convert();
}
