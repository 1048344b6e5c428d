// From nodes to instructions: arguments counted, flags read, values checked.
import { compareBytes } from '../../src/llb/index.js';
import type { Location } from '../errors.js';
import { LocationError, messageOf, withLocation } from '../errors.js';
import { Linter } from '../lint/linter.js';
import type { Heredoc } from '../parser/heredoc.js';
import { chompHeredoc, tryParseHeredoc } from '../parser/heredoc.js';
import type { Node } from '../parser/parse.js';
import { parseDuration } from '../text/duration.js';
import { parseInteger, quote } from '../text/format.js';
import { withSuggestion } from '../text/suggest.js';
import { trimSpace } from '../text/unicode.js';
import type { FlagKinds } from './flags.js';
import { Flags } from './flags.js';
import { mountFrom, parseDevice } from './mount.js';
import type { ArgDefinition, Command, CommandLine, CopyParams, Healthcheck, InlineFile, Instructions, KeyValue, Stage } from './types.js';

const names = ['ADD', 'ARG', 'CMD', 'COPY', 'ENTRYPOINT', 'ENV', 'EXPOSE', 'FROM', 'HEALTHCHECK', 'LABEL', 'MAINTAINER',
	'ONBUILD', 'RUN', 'SHELL', 'STOPSIGNAL', 'USER', 'VOLUME', 'WORKDIR'];

const noFlags: FlagKinds = {};
const addFlags: FlagKinds = { chown: 'string', chmod: 'string', link: 'bool', 'keep-git-dir': 'bool', checksum: 'string', unpack: 'bool', exclude: 'strings' };
const copyFlags: FlagKinds = { chown: 'string', from: 'string', chmod: 'string', link: 'bool', exclude: 'strings', parents: 'bool' };
const runFlags: FlagKinds = { device: 'strings', mount: 'strings', network: 'string', security: 'string' };
const healthFlags: FlagKinds = { interval: 'string', timeout: 'string', 'start-period': 'string', 'start-interval': 'string', retries: 'string' };

function needSome(node: Node, name: string): void {
	if (node.args.length === 0) throw new Error(`${name} requires at least one argument`);
}

function needOne(node: Node, name: string): string {
	const [arg] = node.args;
	if (arg === undefined || node.args.length !== 1) throw new Error(`${name} requires exactly one argument`);
	return arg;
}

function keyValues(node: Node, name: string): KeyValue[] {
	needSome(node, name);
	const pairs: KeyValue[] = [];
	for (let i = 0; i < node.args.length; i += 3) {
		const [key = '', value = '', delimiter = ''] = node.args.slice(i, i + 3);
		if (key === '') throw new Error(`${name} names can not be blank`);
		pairs.push({ key, value, legacy: delimiter === '' });
	}
	return pairs;
}

/** The arguments as they are for the exec form, as one string for the shell form. */
function commandArgs(node: Pick<Node, 'args' | 'json'>): readonly string[] {
	return node.args.length === 0 || node.json ? node.args : [node.args.join(' ')];
}

function commandLine(node: Node): CommandLine {
	const files = node.heredocs.map(({ name, content, expand, chomp }): InlineFile => ({ name, content, expand, chomp }));
	return { args: commandArgs(node), files, shell: !node.json };
}

function copyParams(node: Node, name: string, flags: Flags): CopyParams {
	const dest = node.args.at(-1) ?? '';
	if (tryParseHeredoc(dest)) throw new Error(`${name} cannot accept a heredoc as a destination`);
	const contents = new Map(node.heredocs.map((heredoc): [string, Heredoc] => [heredoc.name, heredoc]));
	const sources: string[] = [];
	const inline: InlineFile[] = [];
	for (const arg of node.args.slice(0, -1)) {
		const heredoc = tryParseHeredoc(arg);
		if (!heredoc) {
			sources.push(arg);
			continue;
		}
		const content = contents.get(heredoc.name)?.content ?? '';
		inline.push({ ...heredoc, content: heredoc.chomp ? chompHeredoc(content) : content });
	}
	return {
		sources, inline, dest,
		chown: flags.string('chown'), chmod: flags.string('chmod'), link: flags.bool('link'), exclude: flags.strings('exclude'),
	};
}

function needDestination(node: Node, name: string): void {
	if (node.args.length < 2) throw new Error(`${name} requires at least two arguments, but only one was provided. Destination could not be determined`);
}

function interval(flags: Flags, name: string): number {
	const text = flags.string(name);
	const value = text === '' ? 0 : parseDuration(text);
	if (value !== 0 && value < 1e6) throw new Error(`Interval ${quote(name)} cannot be less than 1ms`);
	return value;
}

function healthcheck(node: Node): Healthcheck {
	needSome(node, 'HEALTHCHECK');
	const type = (node.args[0] ?? '').toUpperCase();
	const args = node.args.slice(1);
	if (type === 'NONE') {
		if (args.length > 0) throw new Error('HEALTHCHECK NONE takes no arguments');
		return { test: [type], interval: 0, timeout: 0, startPeriod: 0, startInterval: 0, retries: 0 };
	}
	const flags = new Flags(node.flags, healthFlags);
	if (type !== 'CMD') throw new Error(`Unknown type ${quote(type)} in HEALTHCHECK (try CMD)`);
	const command = commandArgs({ args, json: node.json });
	if (command.length === 0) throw new Error('Missing command after HEALTHCHECK CMD');
	const health = {
		test: [node.json ? type : 'CMD-SHELL', ...command],
		interval: interval(flags, 'interval'),
		timeout: interval(flags, 'timeout'),
		startPeriod: interval(flags, 'start-period'),
		startInterval: interval(flags, 'start-interval'),
	};
	const text = flags.string('retries');
	const retries = text === '' ? 0 : Number(parseInteger(text, { bits: 32 }));
	if (retries < 0) throw new Error(`--retries cannot be negative (${retries})`);
	return { ...health, retries };
}

/** What a comment `# name text` above a definition says of it. */
function docComment(comments: readonly string[], name: string): string {
	if (name === '') return '';
	return comments.find((line) => line.startsWith(`${name} `))?.slice(name.length + 1) ?? '';
}

function argDefinitions(node: Node): ArgDefinition[] {
	needSome(node, 'ARG');
	return node.args.map((arg) => {
		const equals = arg.indexOf('=');
		if (equals === 0) throw new Error('ARG names can not be blank');
		const key = equals < 0 ? arg : arg.slice(0, equals);
		return { key, ...(equals < 0 ? {} : { value: arg.slice(equals + 1) }), docComment: docComment(node.comments, key) };
	});
}

function onbuildExpression(node: Node): string {
	needSome(node, 'ONBUILD');
	void new Flags(node.flags, noFlags);
	const trigger = trimSpace(node.args[0] ?? '').toUpperCase();
	if (trigger === 'ONBUILD') throw new Error('Chaining ONBUILD via `ONBUILD ONBUILD` isn\'t allowed');
	if (trigger === 'MAINTAINER' || trigger === 'FROM') throw new Error(`${trigger} isn't allowed as an ONBUILD trigger`);
	const expression = node.original.replace(/^[\t\n\f\r ]*ONBUILD[\t\n\f\r ]*/i, '');
	return expression + node.heredocs.map(({ content, name }) => `\n${content}${name}`).join('');
}

function volumes(node: Node): string[] {
	needSome(node, 'VOLUME');
	void new Flags(node.flags, noFlags);
	return node.args.map((arg) => {
		const volume = trimSpace(arg);
		if (volume === '') throw new Error('VOLUME specified can not be an empty string');
		return volume;
	});
}

function shell(node: Node): readonly string[] {
	void new Flags(node.flags, noFlags);
	needSome(node, 'SHELL');
	if (!node.json) throw new Error('SHELL requires the arguments to be in JSON form');
	return node.args;
}

function runOptions(node: Node): Pick<Command & { kind: 'run' }, 'mounts' | 'network' | 'security' | 'devices'> {
	const flags = new Flags(node.flags, runFlags);
	const devices = flags.strings('device').map(parseDevice);
	const mounts = flags.strings('mount');
	mounts.forEach(mountFrom);
	const network = flags.strings('network')[0] ?? 'default';
	if (network !== 'default' && network !== 'none' && network !== 'host') throw new Error(`invalid network mode ${quote(network)}`);
	const security = flags.strings('security')[0] ?? 'sandbox';
	if (security !== 'sandbox' && security !== 'insecure') throw new Error(`security ${quote(security)} is not valid`);
	return { mounts, network, security, devices };
}

/** One instruction other than FROM. */
function parseCommand(node: Node): Command {
	const base = { name: node.name, code: trimSpace(node.original), location: node.location, comments: node.comments };
	/** For those without flags of their own: any flag is an unknown one. */
	const refuseFlags = (): void => void new Flags(node.flags, noFlags);
	switch (node.name.toLowerCase()) {
		case 'add': {
			needDestination(node, 'ADD');
			const flags = new Flags(node.flags, addFlags);
			const keepGitDir = flags.optionalBool('keep-git-dir');
			const unpack = flags.optionalBool('unpack');
			return {
				...base, ...copyParams(node, 'ADD', flags), kind: 'add', checksum: flags.string('checksum'),
				...(keepGitDir === undefined ? {} : { keepGitDir }), ...(unpack === undefined ? {} : { unpack }),
			};
		}
		case 'arg': return { ...base, kind: 'arg', args: argDefinitions(node) };
		case 'cmd': refuseFlags(); return { ...base, ...commandLine(node), kind: 'cmd' };
		case 'copy': {
			needDestination(node, 'COPY');
			const flags = new Flags(node.flags, copyFlags);
			return { ...base, ...copyParams(node, 'COPY', flags), kind: 'copy', from: flags.string('from'), parents: flags.bool('parents') };
		}
		case 'entrypoint': refuseFlags(); return { ...base, ...commandLine(node), kind: 'entrypoint' };
		case 'env': refuseFlags(); return { ...base, kind: 'env', env: keyValues(node, 'ENV') };
		case 'expose':
			needSome(node, 'EXPOSE');
			refuseFlags();
			return { ...base, kind: 'expose', ports: [...node.args].sort(compareBytes) };
		case 'healthcheck': return { ...base, kind: 'healthcheck', health: healthcheck(node) };
		case 'label': refuseFlags(); return { ...base, kind: 'label', labels: keyValues(node, 'LABEL') };
		case 'maintainer': {
			const maintainer = needOne(node, 'MAINTAINER');
			refuseFlags();
			return { ...base, kind: 'maintainer', maintainer };
		}
		case 'onbuild': return { ...base, kind: 'onbuild', expression: onbuildExpression(node) };
		case 'run': return { ...base, ...runOptions(node), ...commandLine(node), kind: 'run' };
		case 'shell': return { ...base, kind: 'shell', shell: shell(node) };
		case 'stopsignal': return { ...base, kind: 'stopsignal', signal: needOne(node, 'STOPSIGNAL') };
		case 'user': {
			const user = needOne(node, 'USER');
			refuseFlags();
			return { ...base, kind: 'user', user };
		}
		case 'volume': return { ...base, kind: 'volume', volumes: volumes(node) };
		case 'workdir': {
			const path = needOne(node, 'WORKDIR');
			refuseFlags();
			return { ...base, kind: 'workdir', path };
		}
		default: throw new Error(withSuggestion(`unknown instruction: ${node.name}`, node.name, names, false));
	}
}

interface OpenStage extends Stage {
	readonly commands: Command[];
}

function parseFrom(node: Node, lint: Linter): OpenStage {
	const { args } = node;
	const [baseName = '', as = '', written = ''] = args;
	const location = node.location;
	if (args.length === 3 && written !== written.toLowerCase()) lint.report('stageNameCasing', location, written);
	if (args.length >= 3 && !sameCasing(node.name, as)) lint.report('fromAsCasing', location, node.name, as);
	let name = '';
	if (args.length === 3 && as.toLowerCase() === 'as') {
		name = written.toLowerCase();
		if (!/^[a-z][a-z0-9\-_.]*$/.test(name)) {
			throw new Error(`invalid name for build stage: ${quote(written)}, name can't start with a number or contain symbols`);
		}
	} else if (args.length !== 1) {
		throw new Error('FROM requires either one or three arguments');
	}
	const flags = new Flags(node.flags, { platform: 'string' });
	if (name !== '') checkDescription('FROM', [name], node, lint);
	return {
		name, fromName: node.name, baseName, platform: flags.string('platform'), code: trimSpace(node.original), location,
		comments: node.comments, docComment: docComment(node.comments, name), commands: [],
	};
}

/** Whether AS is written like FROM; an inconsistent FROM is another rule's business. */
function sameCasing(from: string, as: string): boolean {
	if (from === from.toLowerCase()) return as === as.toLowerCase();
	if (from === from.toUpperCase()) return as === as.toUpperCase();
	return true;
}

function checkDescription(instruction: string, keys: readonly string[], node: Node, lint: Linter): void {
	const last = node.comments.at(-1);
	const [first] = keys;
	if (last === undefined || first === undefined || keys.includes(last.split(' ', 1)[0] ?? '')) return;
	lint.report('invalidDefinitionDescription', node.location, instruction, keys.length > 1 ? '<arg_key>' : first);
}

/** One instruction of an ONBUILD. */
export function parseTrigger(node: Node): Command {
	return inPlace(node.location, () => {
		if (node.name.toLowerCase() === 'from') throw new Error('*instructions.Stage is not a command type');
		return parseCommand(node);
	});
}

function inPlace<T>(location: Location, action: () => T): T {
	try {
		return action();
	} catch (error) {
		throw withLocation(error, location);
	}
}

/**
 * All instructions, by stage.
 * @throws LocationError with BuildKit's text.
 */
export function parseInstructions(nodes: readonly Node[], lint: Linter): Instructions {
	const stages: OpenStage[] = [];
	const metaArgs: Instructions['metaArgs'][number][] = [];
	for (const node of nodes) {
		const parsed = parseNode(node, lint.withComments(node.comments));
		const stage = stages.at(-1);
		if (!('kind' in parsed)) stages.push(parsed);
		else if (stage) stage.commands.push(parsed);
		else if (parsed.kind === 'arg') metaArgs.push(parsed);
		else throw new LocationError('no build stage in current context', [node.location]);
	}
	return { stages, metaArgs };
}

function parseNode(node: Node, lint: Linter): Command | OpenStage {
	try {
		const name = node.name.toLowerCase();
		if (name === 'from') return parseFrom(node, lint);
		if (name === 'maintainer') lint.report('maintainerDeprecated', node.location);
		const command = parseCommand(node);
		if (command.kind === 'arg') checkDescription('ARG', command.args.map((arg) => arg.key), node, lint);
		return command;
	} catch (error) {
		throw new LocationError(`dockerfile parse error on line ${node.location.start}: ${messageOf(error)}`, [node.location], { cause: error });
	}
}
