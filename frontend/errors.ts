// What goes wrong in a Dockerfile, with the place. Messages are BuildKit's; the excerpt that shows the place
// is made by formatSource, in the form buildctl and docker print.
import type { Range, SourceInfo } from '../src/llb/index.js';

/** Whole lines of a source file, from 1, both ends included. */
export interface Location {
	readonly start: number;
	readonly end: number;
}

/** Of what is not written anywhere itself. */
export const nowhere: Location = { start: 0, end: -1 };

/** An error in a Dockerfile before it is known which file that is. */
export class LocationError extends Error {
	override readonly name: string = 'LocationError';

	constructor(message: string, readonly locations: readonly Location[], options?: ErrorOptions) {
		super(message, options);
	}
}

/** A place in a file, as BuildKit's errdefs.Source. */
export interface ErrorSource {
	readonly info: SourceInfo;
	readonly ranges: readonly Range[];
}

/** An error with the places in the Dockerfile it comes from, in the order they are to be shown. */
export class FrontendError extends Error {
	override readonly name = 'FrontendError';

	constructor(message: string, readonly sources: readonly ErrorSource[], options?: ErrorOptions) {
		super(message, options);
	}
}

export function messageOf(error: unknown): string {
	return error instanceof Error ? error.message : String(error);
}

function locationsOf(error: unknown): readonly Location[] {
	for (let e = error; e instanceof Error; e = e.cause) {
		if (e instanceof LocationError) return e.locations;
	}
	return [];
}

/** `error` with one more place. */
export function withLocation(error: unknown, location: Location): LocationError {
	return new LocationError(messageOf(error), [...locationsOf(error), location], { cause: error });
}

/** `error` with this place and no other. */
export function setLocation(error: unknown, location: Location): LocationError {
	return new LocationError(messageOf(error), [location], { cause: error });
}

/** `error` with a message around its own and the same places. */
export function rewordError(error: unknown, message: string): Error {
	const locations = locationsOf(error);
	return locations.length > 0 ? new LocationError(message, locations, { cause: error }) : new Error(message, { cause: error });
}

/** Runs `action`; what it throws gets `location`. */
export function at<T>(location: Location, action: () => T): T {
	try {
		return action();
	} catch (error) {
		throw withLocation(error, location);
	}
}

/** The ranges of a location as LLB has them: one a line. */
export function rangesOf(location: Location): Range[] {
	const ranges: Range[] = [];
	if (location.end < 0) return ranges;
	for (let line = location.start; line <= Math.max(location.start, location.end); line++) {
		ranges.push({ start: { line, character: 0 }, end: { line, character: 0 } });
	}
	return ranges;
}

/** `error` with the file its places are in; an error without places as it is. */
export function withSource(error: unknown, info: SourceInfo): unknown {
	const locations = locationsOf(error);
	if (locations.length === 0) return error;
	return new FrontendError(messageOf(error), locations.map((location) => ({ info, ranges: rangesOf(location) })), { cause: error });
}

/**
 * The excerpt shown for an error: file and line, then the lines with a `>>>` before the guilty ones and a
 * few around them. '' when the place is not in the file.
 */
export function formatSource({ info, ranges }: ErrorSource): string {
	const lines = Buffer.from(info.data).toString().split('\n');
	const spans = ranges.map((range) => {
		const first = range.start?.line ?? 0;
		return { first, last: Math.max(first, range.end?.line ?? 0) };
	});
	let start = Math.min(...spans.map((span) => span.first));
	let end = Math.max(...spans.map((span) => span.last));
	if (spans.length === 0 || start < 1 || start > lines.length) return '';
	end = Math.min(end, lines.length);
	const heading = `${info.filename}:${start}`;
	const pad = start === end ? 4 : 2;
	for (let padded = 0; padded < pad; padded++) {
		if (start > 1) {
			start--;
			padded++;
		}
		if (end < lines.length) {
			end++;
			padded++;
		}
	}
	const ruler = '-'.repeat(20);
	const excerpt = lines.slice(start - 1, end).map((text, i) => {
		const line = start + i;
		const guilty = spans.some((span) => span.first <= line && line <= span.last);
		return ` ${String(line).padStart(3)} | ${guilty ? '>>>' : '   '} ${text}`;
	});
	return `${[heading, ruler, ...excerpt, ruler].join('\n')}\n`;
}
