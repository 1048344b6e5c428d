// What progress calls each step: `[builder 2/5] RUN make`.
import type { Platform } from '../../src/llb/index.js';
import { formatPlatformFull, normalizePlatform, parsePlatform } from '../../src/llb/index.js';
import type { Env, Lex } from '../shell/lex.js';
import type { StageState } from './stage.js';

/** `run make` as `RUN make`. */
export function uppercaseCommand(text: string): string {
	const space = text.indexOf(' ');
	return space < 0 ? text.toUpperCase() : text.slice(0, space).toUpperCase() + text.slice(space);
}

/** With variables expanded, where they can be. */
export function expandForDisplay(lex: Lex, text: string, env: Env): string {
	try {
		return lex.expand(text, env);
	} catch {
		return text;
	}
}

/** The name of the next step of a stage. */
export function stepName(stage: StageState, text: string, platform: Platform | undefined, env: Env): string {
	if (stage.commandTotal === 0) return text;
	stage.commandIndex++;
	const width = Math.floor(1 + Math.log10(stage.commandTotal));
	const counter = `${String(stage.commandIndex).padStart(width)}/${stage.commandTotal}`;
	const prefix = [
		...(platform ? [formatPlatformFull(platform) + targetSuffix(platform, env)] : []),
		...(stage.name === '' ? [] : [stage.name]),
		counter,
	].join(' ');
	return `[${prefix}] ${stage.commandIsOnbuild ? 'ONBUILD ' : ''}${text}`;
}

/** `->arm64` when the step builds for another platform than it runs on. */
function targetSuffix(platform: Platform, env: Env): string {
	const found = targetOf(env);
	if (!found) return '';
	const target = normalizePlatform({ ...found, os: found.os || platform.os, architecture: found.architecture || platform.architecture });
	if (target.os !== platform.os) return `->${formatPlatformFull(target)}`;
	if (target.architecture === platform.architecture) return '';
	return `->${target.architecture}${target.variant ? `/${target.variant}` : ''}`;
}

/** The target as far as TARGET* variables say it. */
function targetOf(env: Env): Platform | undefined {
	const value = (name: string): string | undefined => env.get(name);
	const whole = value('TARGETPLATFORM');
	if (whole !== undefined) {
		try {
			return parsePlatform(whole);
		} catch {
			// Set to something else by the user.
		}
	}
	const [os, architecture, variant] = [value('TARGETOS'), value('TARGETARCH'), value('TARGETVARIANT')];
	if (os === undefined && architecture === undefined && variant === undefined) return undefined;
	return { os: os ?? '', architecture: architecture ?? '', ...(variant ? { variant } : {}) };
}

/** The first line of a here-document, for the name of its step. */
export function summarizeHeredoc(content: string): string {
	const lines = content.trim().replaceAll('\r\n', '\n').split('\n');
	return `${lines[0] ?? ''}${lines.length > 1 ? '...' : ''}`;
}
