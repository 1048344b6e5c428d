// One instruction after the other, applied to its stage.
import type { Platform } from '../../src/llb/index.js';
import { fileActions, joinPath, parseOwner } from '../../src/llb/index.js';
import { messageOf } from '../errors.js';
import { healthConfig } from '../image.js';
import { parseMount } from '../instructions/mount.js';
import type {
	AddCommand, ArgCommand, CmdCommand, CopyCommand, EntrypointCommand, EnvCommand, ExposeCommand, Healthcheck, HealthcheckCommand, KeyValue,
	LabelCommand, StopsignalCommand, WorkdirCommand,
} from '../instructions/types.js';
import type { Env } from '../shell/lex.js';
import { ExpansionError, Lex } from '../shell/lex.js';
import { formatDuration } from '../text/duration.js';
import { formatList, quote, quoteList } from '../text/format.js';
import { buildArg } from './args.js';
import { builderArgs, checkSecretKey, checkUndefinedVariables, checkUsedOnce } from './checks.js';
import type { ConvertContext } from './context.js';
import { located } from './context.js';
import { dispatchCopy } from './copy.js';
import { commit } from './history.js';
import { expandForDisplay, stepName, uppercaseCommand } from './names.js';
import { isAbsolute, normalizeWorkdir, toSlash } from './paths.js';
import { parsePorts } from './ports.js';
import { dispatchRun, withShell } from './run.js';
import { isSignal } from './signals.js';
import type { StageCommand, StageState } from './stage.js';

type Expand = (word: string) => string;

function expandPairs(pairs: readonly KeyValue[], expand: Expand): KeyValue[] {
	return pairs.map(({ key, value, legacy }) => ({ key: expand(key), value: expand(value), legacy }));
}

/** An entry of the config's environment: in place of one of the same name, else at the end. */
function setEnv(env: readonly string[], key: string, value: string): string[] {
	const index = env.findIndex((entry) => entry.split('=', 1)[0] === key);
	return index < 0 ? [...env, `${key}=${value}`] : env.with(index, `${key}=${value}`);
}

/** Name and value of an entry of an image's environment. */
export function splitEnv(entry: string): [string, string] {
	const equals = entry.indexOf('=');
	return equals < 0 ? [entry, ''] : [entry.slice(0, equals), entry.slice(equals + 1)];
}

class Dispatcher {
	private readonly env: Env;
	private readonly lint: ConvertContext['lint'];

	constructor(readonly stage: StageState, readonly entry: StageCommand, readonly context: ConvertContext) {
		// As it was before the instruction: `ENV a=1 b=$a` does not see its own a.
		this.env = stage.state.meta.env;
		this.lint = context.lint;
	}

	dispatch(): void {
		const { stage, context } = this;
		const { command } = this.entry;
		switch (command.kind) {
			case 'add': case 'copy': this.copy(command); break;
			case 'arg': this.arg(command); break;
			case 'cmd': this.cmd(command); break;
			case 'entrypoint': this.entrypoint(command); break;
			case 'env': this.setEnv(command); break;
			case 'expose': this.expose(command); break;
			case 'healthcheck': this.healthcheck(command); break;
			case 'label': this.label(command); break;
			case 'maintainer':
				stage.image.author = command.maintainer;
				this.commit(`MAINTAINER ${command.maintainer}`);
				break;
			case 'onbuild':
				stage.image.config.OnBuild = [...(stage.image.config.OnBuild ?? []), command.expression];
				break;
			case 'run': {
				const mounts = command.mounts.map((spec) => parseMount(spec, this.expand));
				dispatchRun(stage, command, mounts, this.entry.sources, context);
				break;
			}
			case 'shell':
				stage.image.config.Shell = [...command.shell];
				this.commit(`SHELL ${formatList(command.shell)}`);
				break;
			case 'stopsignal': this.stopsignal(command); break;
			case 'user': {
				const user = this.expand(command.user);
				setUser(stage, user);
				this.commit(`USER ${user}`);
				break;
			}
			case 'volume': this.volume(command.volumes.map(this.expand)); break;
			case 'workdir': this.workdir(command); break;
		}
	}

	private readonly expand: Expand = (word) => this.expandWith(this.context.lex, word);

	private expandWith(lex: Lex, word: string): string {
		return this.processWord(lex, word, this.env);
	}

	/** Expands, and warns of undefined variables, whether it can be expanded or not. */
	private processWord(lex: Lex, word: string, env: Env): string {
		const warn = (unmatched: ReadonlySet<string>): void => { checkUndefinedVariables(this.entry.command.location, this.stage.buildArgs, env, unmatched, this.lint); };
		try {
			const { text, unmatched } = lex.process(word, env);
			warn(unmatched);
			return text;
		} catch (error) {
			if (error instanceof ExpansionError) warn(error.unmatched);
			throw error;
		}
	}

	private commit(message: string, layer = false): void {
		commit(this.stage, this.context, message, { layer });
	}

	private copy(command: AddCommand | CopyCommand): void {
		const { stage, context } = this;
		const expanded = this.expandCopy(command);
		const [from] = this.entry.sources;
		if (from && !from.dispatched) {
			throw new Error(`cannot copy from stage ${quote(command.kind === 'copy' ? command.from : '')}, it needs to be defined before current stage ${quote(stage.name)}`);
		}
		dispatchCopy(stage, expanded, from?.state ?? context.buildContext, !from, context);
		const used = from?.paths ?? stage.contextPaths;
		for (const source of expanded.sources) {
			if (command.kind === 'add' && /^https?:\/\//.test(source)) continue;
			used.add(joinPath('/', source));
		}
	}

	private expandCopy<T extends AddCommand | CopyCommand>(command: T): T {
		const raw = new Lex('\\', { skipProcessQuotes: true });
		return {
			...command,
			chown: this.expand(command.chown),
			chmod: this.expand(command.chmod),
			...(command.kind === 'add' ? { checksum: this.expand(command.checksum) } : {}),
			sources: command.sources.map(this.expand),
			dest: this.expand(command.dest),
			inline: command.inline.map((file) => (file.expand ? { ...file, content: this.expandWith(raw, file.content) } : file)),
		};
	}

	private setEnv(command: EnvCommand): void {
		const pairs = expandPairs(command.env, this.expand);
		const { config } = this.stage.image;
		for (const { key, value, legacy } of pairs) {
			if (legacy) this.lint.report('legacyKeyValueFormat', command.location, command.name);
			checkSecretKey('ENV', key, command.location, this.lint);
			config.Env = setEnv(config.Env ?? [], key, value);
		}
		this.stage.state = this.stage.state.addEnv(pairs.map(({ key, value }) => [key, value]));
		this.commit(['ENV', ...pairs.map(({ key, value }) => `${key}=${value}`)].join(' '));
	}

	private label(command: LabelCommand): void {
		const pairs = expandPairs(command.labels, this.expand);
		const { config } = this.stage.image;
		if (pairs.some(({ legacy }) => legacy)) this.lint.report('legacyKeyValueFormat', command.location, command.name);
		config.Labels = Object.fromEntries([...Object.entries(config.Labels ?? {}), ...pairs.map(({ key, value }) => [key, value])]);
		this.commit(['LABEL', ...pairs.map(({ key, value }) => `${key}=${value}`)].join(' '));
	}

	private arg(command: ArgCommand): void {
		const { stage, context } = this;
		const shown: string[] = [];
		for (const definition of command.args) {
			const { key } = definition;
			checkSecretKey('ARG', key, command.location, this.lint);
			const given = buildArg(context.config.buildArgs, key);
			const global = definition.value === undefined && given === undefined ? context.globalArgs.get(key) : undefined;
			const value = given ?? global ?? (definition.value === undefined ? undefined : this.expandArg(definition.value));
			if (value !== undefined && !builderArgs.has(key)) stage.state = stage.state.addEnv([[key, value]]);
			// One taken over from before the first FROM is shown where it was defined.
			if (global === undefined) stage.outline.allArgs.set(key, { definition, value: value ?? '', location: command.location, deps: new Set() });
			stage.outline.usedArgs.add(key);
			stage.buildArgs.push({ key, docComment: definition.docComment, ...(value === undefined ? {} : { value }) });
			shown.push(value === undefined ? key : `${key}=${value}`);
		}
		this.commit(`ARG ${shown.join(' ')}`);
	}

	/** Unlike ENV, ARG sees the arguments before it in the same instruction. */
	private expandArg(text: string): string {
		return this.processWord(this.context.lex, text, this.stage.state.meta.env);
	}

	/** The command line with the shell in front, for the shell form. */
	private commandLine(command: CmdCommand | EntrypointCommand): string[] {
		if (!command.shell) return [...command.args];
		if (!this.stage.image.config.Shell?.length) this.lint.report('jsonArgsRecommended', command.location, command.name);
		return withShell(this.stage.image, command.args);
	}

	private cmd(command: CmdCommand): void {
		checkUsedOnce(this.stage, 'cmd', command, this.lint);
		const args = this.commandLine(command);
		this.stage.image.config.Cmd = args;
		this.stage.image.config.ArgsEscaped = true;
		this.commit(`CMD ${quoteList(args)}`);
	}

	private entrypoint(command: EntrypointCommand): void {
		checkUsedOnce(this.stage, 'entrypoint', command, this.lint);
		const args = this.commandLine(command);
		this.stage.image.config.Entrypoint = args;
		// A CMD of the base is for the base's entrypoint.
		if (!this.stage.last.cmd) delete this.stage.image.config.Cmd;
		this.commit(`ENTRYPOINT ${quoteList(args)}`);
	}

	private healthcheck(command: HealthcheckCommand): void {
		checkUsedOnce(this.stage, 'healthcheck', command, this.lint);
		this.stage.image.config.Healthcheck = healthConfig(command.health);
		this.commit(`HEALTHCHECK ${formatHealthcheck(command.health)}`);
	}

	private expose(command: ExposeCommand): void {
		const words = command.ports.flatMap((port) => this.context.lex.process(port, this.env).words);
		const ports = words.flatMap((word) => parsePorts(word, command.location, this.lint));
		const { config } = this.stage.image;
		config.ExposedPorts = { ...config.ExposedPorts, ...Object.fromEntries(ports.map((port) => [port, {}])) };
		this.commit(`EXPOSE ${formatList(ports)}`);
	}

	private volume(volumes: readonly string[]): void {
		if (volumes.includes('')) throw new Error('VOLUME specified can not be an empty string');
		const { config } = this.stage.image;
		config.Volumes = Object.fromEntries([...Object.entries(config.Volumes ?? {}), ...volumes.map((path): [string, object] => [path, {}])]);
		this.commit(`VOLUME ${formatList(volumes)}`);
	}

	private stopsignal(command: StopsignalCommand): void {
		const signal = this.expand(command.signal);
		if (!isSignal(signal)) throw new Error(`invalid signal: ${signal}`);
		this.stage.image.config.StopSignal = signal;
		this.commit(`STOPSIGNAL ${signal}`);
	}

	private workdir(command: WorkdirCommand): void {
		const { stage, context } = this;
		const path = this.expand(command.path);
		const platform = stage.platform ?? context.targetPlatform;
		if (!stage.workdirSet && !isAbsolute(path, platform.os)) this.lint.report('workdirRelativePath', command.location, path);
		stage.workdirSet = true;
		const dir = setWorkdir(stage, path, platform);
		if (dir === '/') {
			this.commit(`WORKDIR ${dir}`);
			return;
		}
		const { env } = stage.state.meta;
		const text = uppercaseCommand(expandForDisplay(context.lex, command.code, env));
		const user = stage.image.config.User;
		const actions = fileActions().mkdir(dir, 0o755, {
			makeParents: true,
			...(user ? { owner: parseOwner(user) } : {}),
			...(context.epoch === undefined ? {} : { createdTime: BigInt(context.epoch) * 1_000_000_000n }),
		});
		stage.state = stage.state.file(actions, {
			name: stepName(stage, text, context.config.multiPlatform ? platform : undefined, env),
			platform,
			...located(context, command.location),
		});
		this.commit(`WORKDIR ${dir}`, true);
	}
}

/** Sets the working directory of a stage; returns it as Unix writes it. */
export function setWorkdir(stage: StageState, path: string, platform: Platform): string {
	let dir: string;
	try {
		dir = normalizeWorkdir(stage.image.config.WorkingDir ?? '', path, platform.os);
	} catch (error) {
		throw new Error(`normalizing workdir: normalizing working directory: ${messageOf(error)}`, { cause: error });
	}
	stage.image.config.WorkingDir = dir;
	const unixDir = toSlash(dir, platform.os);
	stage.state = stage.state.dir(unixDir);
	return unixDir;
}

export function setUser(stage: StageState, user: string): void {
	stage.state = stage.state.user(user);
	stage.image.config.User = user;
}

/** As Go prints the struct. */
function formatHealthcheck(health: Healthcheck): string {
	const members: readonly (readonly [string, string])[] = [
		['Test', formatList(health.test)],
		['Interval', formatDuration(health.interval)],
		['Timeout', formatDuration(health.timeout)],
		['StartPeriod', formatDuration(health.startPeriod)],
		['StartInterval', formatDuration(health.startInterval)],
		['Retries', String(health.retries)],
	];
	return `{${members.map(([name, value]) => `${name}:${value}`).join(' ')}}`;
}

/**
 * Applies an instruction to its stage.
 * @throws Error with BuildKit's text.
 */
export function dispatch(stage: StageState, entry: StageCommand, context: ConvertContext): void {
	stage.commandIsOnbuild = entry.onbuild;
	const lint = context.lint.withComments(entry.command.comments);
	new Dispatcher(stage, entry, lint === context.lint ? context : { ...context, lint }).dispatch();
}
