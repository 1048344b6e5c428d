// A Dockerfile may ask for another frontend than this one.
import { parseReference } from '../src/llb/index.js';
import type { FrontendClient } from './client.js';
import { LocationError, messageOf, withSource } from './errors.js';
import { detectSyntax } from './parser/directives.js';
import type { Entrypoint } from './ui/context.js';
import { sourceInfo } from './ui/context.js';

/** Another frontend the Dockerfile (or BUILDKIT_SYNTAX) asks for. */
export interface Forward {
	readonly kind: 'forward';
	/** Its image. */
	readonly source: string;
	/** The image with arguments, as written: its `cmdline` option. */
	readonly cmdline: string;
	/** What to say when it fails with an error that has no `sources` of its own. */
	explain(error: unknown): unknown;
}

/** Frontends this one stands in for: every version of Docker's own. */
const ownFrontends = new Set(['docker.io/docker/dockerfile', 'docker.io/docker/dockerfile-upstream']);

function isOwn(ref: string): boolean {
	try {
		const { domain, path } = parseReference(ref);
		return ownFrontends.has(`${domain}/${path}`);
	} catch {
		return false;
	}
}

const syntaxArg = 'build-arg:BUILDKIT_SYNTAX';

/** `cmdline` among the options says that another frontend was asked for already and is us. */
export function otherFrontend({ opts }: FrontendClient, entrypoint: Entrypoint): Forward | undefined {
	if (opts['cmdline'] !== undefined) return undefined;
	const argument = opts[syntaxArg];
	if (argument !== undefined) {
		const [source = ''] = argument.trim().split(' ', 1);
		if (isOwn(source)) return undefined;
		return { kind: 'forward', source, cmdline: argument, explain: (error) => new Error(`failed with ${syntaxArg} = ${argument}: ${messageOf(error)}`, { cause: error }) };
	}
	const syntax = detectSyntax(Buffer.from(entrypoint.data).toString());
	if (!syntax || isOwn(syntax.value)) return undefined;
	return {
		kind: 'forward',
		source: syntax.value,
		cmdline: syntax.cmdline,
		explain: (error) => withSource(new LocationError(messageOf(error), [syntax.location], { cause: error }), sourceInfo(entrypoint)),
	};
}

/** For builders that run no other frontend. @throws Error when the Dockerfile asks for one */
export function refuseOtherFrontend(client: FrontendClient, entrypoint: Entrypoint): void {
	const other = otherFrontend(client, entrypoint);
	if (!other) return;
	const where = client.opts[syntaxArg] === undefined ? 'the syntax directive' : 'BUILDKIT_SYNTAX';
	const error = new Error(`frontend ${other.source} cannot be run: this builder has docker/dockerfile built in and runs no other; remove ${where}`);
	throw client.opts[syntaxArg] === undefined ? other.explain(error) : error;
}
