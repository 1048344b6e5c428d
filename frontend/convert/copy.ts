// COPY and ADD.
import { randomUUID } from 'node:crypto';
import type { Constraints, CopyOptions, FileActions, State } from '../../src/llb/index.js';
import { basePath, checkDigest, fileActions, http, joinPath, merge, parseOwner, scratch } from '../../src/llb/index.js';
import { messageOf } from '../errors.js';
import type { AddCommand, CopyCommand } from '../instructions/types.js';
import { parseInteger, quote } from '../text/format.js';
import type { GitRef } from '../ui/git-ref.js';
import { gitState, parseGitRef } from '../ui/git-ref.js';
import { splitUrl } from '../ui/url.js';
import { checkIgnoredSource } from './checks.js';
import type { ConvertContext } from './context.js';
import { located } from './context.js';
import { commit } from './history.js';
import { expandForDisplay, stepName, uppercaseCommand } from './names.js';
import { dropDrive, isAbsolute, normalizePath, toSlash } from './paths.js';
import { internal } from './run.js';
import type { StageState } from './stage.js';

type Command = AddCommand | CopyCommand;

const symbolicMode = /^[augo]*(?:[-+=][rstwXxugo]*)+(?:,[augo]*(?:[-+=][rstwXxugo]*)+)*$/;

/** A number of octal digits, or a symbolic mode. */
function parseMode(text: string): number | string | undefined {
	if (text === '') return undefined;
	const notOctal = `invalid chmod parameter: '${text}'. it should be octal string and between 0 and 07777`;
	let mode: bigint | undefined;
	try {
		mode = parseInteger(text, { base: 8, bits: 32, unsigned: true });
	} catch (cause) {
		if (/^[0-9]/.test(text)) throw new Error(notOctal, { cause });
	}
	if (mode === undefined) {
		if (!symbolicMode.test(text)) throw new Error('invalid syntax');
		return text;
	}
	if (mode > 0o7777n) throw new Error(notOctal);
	return Number(mode);
}

/** Whether a source of ADD is a URL to download (rather than a repository). */
export function isHttpSource(source: string): boolean {
	return /^https?:\/\//.test(source) && !asGitRef(source);
}

/** The repository a source of ADD names; undefined for anything else, a path that looks like one included. */
export function asGitRef(source: string): GitRef | undefined {
	const ref = parseGitRef(source);
	return ref && !ref.indistinguishableFromLocal ? ref : undefined;
}

/** Name a downloaded file gets: the last part of the URL's path. */
export function httpFilename(url: string): string {
	const base = basePath(splitUrl(url)?.path ?? '');
	return base === '.' || base === '/' ? '__unnamed__' : base;
}

function hasWildcards(path: string): boolean {
	return /[*?[]/.test(path.replace(/\\[^]/g, ''));
}

/** Where the files go: an absolute path, a final slash kept. */
function destination(stage: StageState, path: string, os: string): string {
	const bare = dropDrive(path, os, true);
	if (isAbsolute(bare, os)) return normalizePath('/', bare, os, true);
	return normalizePath(stage.state.meta.dir, bare === '' || bare === '.' ? './' : bare, os, true);
}

class Copier {
	private readonly os: string;
	private readonly dest: string;
	private readonly common: CopyOptions;
	private checksum: string;
	private keepGitDir: boolean | undefined;
	private actions: FileActions = fileActions();

	constructor(
		readonly stage: StageState,
		readonly command: Command,
		readonly source: State,
		readonly fromContext: boolean,
		readonly context: ConvertContext,
		readonly name: string,
	) {
		this.os = stage.platform?.os ?? 'linux';
		this.dest = destination(stage, command.dest, this.os);
		const mode = parseMode(command.chmod);
		this.common = {
			createDestPath: true,
			excludePatterns: command.exclude,
			...(mode === undefined ? {} : { mode }),
			...(command.chown === '' ? {} : { owner: parseOwner(command.chown) }),
		};
		this.checksum = command.kind === 'add' ? command.checksum : '';
		this.keepGitDir = command.kind === 'add' ? command.keepGitDir : undefined;
		this.checkChecksum();
	}

	private checkChecksum(): void {
		if (this.checksum === '') return;
		const [source = ''] = this.command.sources;
		if (this.command.sources.length !== 1) throw new Error('checksum can\'t be specified for multiple sources');
		if (!isHttpSource(source) && !parseGitRef(source)) throw new Error('checksum requires HTTP(S) or Git sources');
	}

	build(): FileActions {
		for (const source of this.command.sources) {
			const git = asGitRef(source);
			if (git) this.addGit(git);
			else if (isHttpSource(source)) this.addHttp(source);
			else this.addFiles(source);
		}
		for (const file of this.command.inline) this.addInline(file.name, file.content);
		return this.actions;
	}

	private addGit(ref: GitRef): void {
		if (this.command.kind !== 'add') throw new Error('source can\'t be a git ref for COPY');
		if (this.keepGitDir !== undefined && ref.keepGitDir !== undefined && this.keepGitDir !== ref.keepGitDir) {
			throw new Error('inconsistent keep-git-dir configuration');
		}
		this.keepGitDir = ref.keepGitDir ?? this.keepGitDir;
		if (this.checksum !== '' && ref.checksum !== '' && this.checksum !== ref.checksum) {
			throw new Error(`checksum mismatch ${quote(this.checksum)} != ${quote(ref.checksum)}`);
		}
		this.checksum = ref.checksum || this.checksum;
		const { mtime: _unused, ...known } = ref;
		const state = gitState({ ...known, checksum: this.checksum, ...(this.keepGitDir === undefined ? {} : { keepGitDir: this.keepGitDir }) }, { name: this.name });
		this.actions = this.actions.copy(state, '/', this.dest, this.common);
	}

	/** A download stays as it is, unless --unpack says otherwise. */
	private addHttp(url: string): void {
		if (this.command.kind !== 'add') throw new Error('source can\'t be a URL for COPY');
		if (this.checksum !== '') checkDigest(this.checksum);
		const filename = httpFilename(url);
		const state = http(url, { filename, name: this.name, ...(this.checksum === '' ? {} : { checksum: this.checksum }) });
		this.actions = this.actions.copy(state, filename, this.dest, { ...this.common, attemptUnpack: this.command.unpack ?? false });
	}

	private addFiles(source: string): void {
		const { command, context } = this;
		checkIgnoredSource(source, command.kind === 'add' ? 'Add' : 'Copy', this.fromContext ? context.ignores : undefined, command.location, context.lint);
		const parents = command.kind === 'copy' && command.parents ? this.parents(source) : undefined;
		this.actions = this.actions.copy(this.source, this.sourcePath(parents?.root ?? source), this.dest, {
			...this.common,
			followSymlinks: true,
			copyDirContentsOnly: true,
			includePatterns: parents?.patterns ?? [],
			requiredPaths: parents?.required ?? [],
			attemptUnpack: command.kind === 'add' && (command.unpack ?? true),
			allowWildcard: true,
			allowEmptyWildcard: true,
		});
	}

	private sourcePath(path: string): string {
		try {
			return normalizePath('/', path, this.os, false);
		} catch (error) {
			throw new Error(`removing drive letter: ${messageOf(error)}`, { cause: error });
		}
	}

	/** --parents: the path becomes a pattern below the root, or below what is in front of `/./`. */
	private parents(source: string): { root: string; patterns: string[]; required: string[] } {
		const pivot = source.indexOf('/./');
		const root = pivot < 0 ? '/' : source.slice(0, pivot);
		const pattern = this.sourcePath(pivot < 0 ? source : source.slice(pivot + 3));
		const required = hasWildcards(root) || hasWildcards(pattern) ? [] : [this.sourcePath(joinPath(root, pattern))];
		return { root, patterns: [pattern.replace(/^\//, '')], required };
	}

	private addInline(name: string, content: string): void {
		const file = dropDrive(name, this.os, false);
		const state = scratch().file(fileActions().mkfile(file, 0o644, Buffer.from(content)), internal(this.stage, 'preparing inline document'));
		this.actions = this.actions.copy(state, toSlash(file, this.os), this.dest, this.common);
	}
}

function message(command: Command): string {
	return [
		command.kind.toUpperCase(),
		...(command.kind === 'copy' && command.parents ? ['--parents'] : []),
		...(command.chown === '' ? [] : [`--chown=${command.chown}`]),
		...(command.chmod === '' ? [] : [`--chmod=${command.chmod}`]),
		...command.sources,
		...command.inline.map((file) => `<<${file.name}`),
		command.dest,
	].join(' ');
}

/** Copies into a stage; `source` is what paths are relative to. */
export function dispatchCopy(stage: StageState, command: Command, source: State, fromContext: boolean, context: ConvertContext): void {
	const { env } = stage.state.meta;
	const text = uppercaseCommand(expandForDisplay(context.lex, command.code, env));
	const platform = context.config.multiPlatform ? stage.platform ?? context.targetPlatform : undefined;
	// Bad values are to fail before the step is counted.
	const index = stage.commandIndex;
	const name = stepName(stage, text, platform, env);
	const options: Constraints = { name, ...located(context, command.location), ...(stage.ignoreCache ? { ignoreCache: true } : {}) };
	const actions = new Copier(stage, command, source, fromContext, context, name).build();
	if (command.link && command.chmod === '' && context.supports('mergeop')) {
		const id = randomUUID();
		const layer = scratch().file(actions, { ...options, ...(stage.platform ? { platform: stage.platform } : {}), progressGroup: { id, name, weak: true } });
		stage.commandIndex = index;
		const linkName = stepName(stage, `LINK ${text}`, platform, env);
		const merged = merge([stage.state, layer], { ...options, name: linkName, progressGroup: { id, name, weak: false } });
		stage.state = stage.state.withOutput(merged.output);
	} else {
		stage.state = stage.state.file(actions, options);
	}
	commit(stage, context, message(command), { layer: true, step: true });
}
