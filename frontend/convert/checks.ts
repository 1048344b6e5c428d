// What the linter has to say while a Dockerfile is converted.
import type { Platform } from '../../src/llb/index.js';
import { cleanPath, formatPlatformFull, normalizePlatform, parsePlatform, parseReference } from '../../src/llb/index.js';
import type { Location } from '../errors.js';
import { LocationError } from '../errors.js';
import type { ArgCommand, ArgDefinition, Command, Stage } from '../instructions/types.js';
import type { Linter } from '../lint/linter.js';
import type { Env, Lex, LexResult } from '../shell/lex.js';
import { suggest } from '../text/suggest.js';
import type { IgnoreMatcher } from '../ui/ignore.js';
import type { Args } from './args.js';
import { globalArgs } from './args.js';
import type { StageState } from './stage.js';

/** Arguments that are for the builder and no variables. */
export const builderArgs: ReadonlySet<string> = new Set(['BUILDKIT_SBOM_SCAN_CONTEXT', 'BUILDKIT_SBOM_SCAN_STAGE']);

const reservedNames = new Set(['context', 'scratch']);

export function checkStageNames(stages: readonly Stage[], lint: Linter): void {
	const seen = new Set<string>();
	for (const { name, location } of stages) {
		if (name === '') continue;
		if (reservedNames.has(name)) lint.report('reservedStageName', location, name);
		if (seen.has(name)) lint.report('duplicateStageName', location, name);
		seen.add(name);
	}
}

/** All instructions are to be written like most of those that are all upper or all lower case. */
export function checkCasing(stages: readonly Stage[], lint: Linter): void {
	const names = stages.flatMap((stage) => [
		{ name: stage.fromName, location: stage.location },
		...stage.commands.map(({ name, location }) => ({ name, location })),
	]);
	const lower = names.filter(({ name }) => name === name.toLowerCase()).length;
	const upper = names.filter(({ name }) => name !== name.toLowerCase() && name === name.toUpperCase()).length;
	for (const { name, location } of names) {
		if (lower > upper && name !== name.toLowerCase()) lint.report('consistentInstructionCasing', location, name, 'lowercase');
		if (lower <= upper && name !== name.toUpperCase()) lint.report('consistentInstructionCasing', location, name, 'uppercase');
	}
}

/** Base images must make sense without any --build-arg too. */
export function checkDefaultBases(stages: readonly Stage[], lex: Lex, predefined: Args, commands: readonly ArgCommand[], lint: Linter): void {
	try {
		const { args } = globalArgs(predefined, lex, commands, {});
		for (const { baseName, location } of stages) {
			const name = lex.expand(baseName, args);
			if (!isReference(name)) lint.report('invalidDefaultArgInFrom', location, baseName);
		}
	} catch {
		// What cannot be expanded fails the build itself in a moment.
	}
}

function isReference(text: string): boolean {
	try {
		parseReference(text);
		return true;
	} catch {
		return false;
	}
}

export function checkUndefinedInFrom(known: Iterable<string>, unmatched: ReadonlySet<string>, location: Location, lint: Linter): void {
	const names = new Set(known);
	for (const name of unmatched) {
		if (!names.has(name)) lint.report('undefinedArgInFrom', location, name, suggest(name, names, true));
	}
}

export function checkFromPlatform(written: string, result: LexResult, stage: Stage, env: Env, lint: Linter): void {
	const { matched, unmatched, text } = result;
	if (matched.size === 1 && unmatched.size === 0 && matched.has('TARGETPLATFORM') && env.get('TARGETPLATFORM') === text) {
		lint.report('redundantTargetPlatform', stage.location, written);
	}
	if (matched.size > 0 || unmatched.size > 0) return;
	let platform: Platform;
	try {
		platform = parsePlatform(text);
	} catch {
		return;
	}
	if (stage.name.includes(platform.os) || stage.name.includes(platform.architecture)) return;
	lint.report('fromPlatformFlagConstDisallowed', stage.location, text);
}

export function checkBasePlatform(name: string, expected: Platform, actual: Platform, location: Location, lint: Linter): void {
	if (expected.os === actual.os && expected.architecture === actual.architecture) return;
	const format = (platform: Platform): string => formatPlatformFull(normalizePlatform(platform));
	lint.report('invalidBaseImagePlatform', location, name, format(expected), format(actual));
}

export function checkUndefinedVariables(location: Location, buildArgs: readonly ArgDefinition[], env: Env, unmatched: ReadonlySet<string>, lint: Linter): void {
	if (unmatched.size === 0) return;
	const declared = new Set(buildArgs.map((arg) => arg.key));
	for (const name of unmatched) {
		if (declared.has(name) || builderArgs.has(name)) continue;
		lint.report('undefinedVar', location, name, suggest(name, env.keys(), true));
	}
}

const secret = /(?:_|^)(?:apikey|auth|credential|credentials|key|password|pword|passwd|secret|token)(?:_|$)/i;
const harmless = /(?:_|^)(?:public|file|version)(?:_|$)/i;

export function checkSecretKey(instruction: 'ARG' | 'ENV', key: string, location: Location, lint: Linter): void {
	if (secret.test(key) && !harmless.test(key)) lint.report('secretsUsedInArgOrEnv', location, instruction, key);
}

/** Of several CMDs, ENTRYPOINTs or HEALTHCHECKs of a stage only the last counts. */
export function checkUsedOnce(stage: StageState, kind: keyof StageState['last'], command: Command, lint: Linter): void {
	const before = stage.last[kind];
	if (before) lint.report('multipleInstructionsDisallowed', before, command.name);
	stage.last[kind] = command.location;
}

export function checkIgnoredSource(source: string, command: 'Copy' | 'Add', matcher: IgnoreMatcher | undefined, location: Location, lint: Linter): void {
	// With exceptions a path that is ignored may hold files that are not.
	if (!matcher || matcher.hasExceptions) return;
	const path = cleanPath(source);
	const isRoot = path === '.' || path === '/';
	if (isRoot && !matcher.patterns.some((pattern) => ['*', '**', '**/*'].includes(pattern.text))) return;
	if (matcher.ignores(path)) lint.report('copyIgnoredFile', location, command, path);
}

/** @throws LocationError when stages copy from each other in a circle. */
export function checkCircles(stages: readonly StageState[]): void {
	const done = new Set<StageState>();
	for (const stage of stages) {
		const circle = findCircle(stage, done);
		if (circle) throw new LocationError(`circular dependency detected on stage: ${stage.name}`, circle.map((command) => command.location));
	}
}

/** Commands along the way from `start` into a circle, if there is one. Not recursive: a file may have thousands of stages. */
function findCircle(start: StageState, done: Set<StageState>): Command[] | undefined {
	if (done.has(start)) return undefined;
	done.add(start);
	const open = new Set([start]);
	const commands: Command[] = [];
	const stack = [{ stage: start, deps: [...start.deps], next: 0 }];
	for (let top = stack.at(-1); top; top = stack.at(-1)) {
		const entry = top.deps[top.next++];
		if (!entry) {
			open.delete(top.stage);
			stack.pop();
			commands.pop();
			continue;
		}
		const [dep, command] = entry;
		if (open.has(dep)) return [...commands, command];
		if (done.has(dep)) continue;
		done.add(dep);
		open.add(dep);
		commands.push(command);
		stack.push({ stage: dep, deps: [...dep.deps], next: 0 });
	}
	return undefined;
}
