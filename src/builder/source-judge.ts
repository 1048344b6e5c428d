// A client that judges which sources its build may use: it is told of each, may ask what it is at present, and
// allows it, denies it or names another. Asked once about each source of a build.
import { PolicyAction, PolicyDeniedError, type CheckPolicyRequest, type CheckPolicyResponse, type ResolveSourceMetaRequest, type ResolveSourceMetaResponse } from '../gateway/index.js';
import { platformToPb, type SourceOp } from '../llb/index.js';
import type { Platform } from '../image/index.js';
import { normalized, type SourcePolicies } from './source-policy.js';

/** The client's PolicyVerifier/CheckPolicy. */
export type CheckPolicy = (request: CheckPolicyRequest) => Promise<CheckPolicyResponse>;

/** Answers about one source after which its judge is given up. */
const maxAnswers = 10;

export class SourceJudge {
	readonly #decisions = new Map<string, Promise<SourceOp>>();

	/** @param describe answers what the judge asks */
	constructor(private readonly check: CheckPolicy, private readonly describe: (request: ResolveSourceMetaRequest) => Promise<ResolveSourceMetaResponse>) {}

	/** The source to use in place of one that the rules allow; they apply to what the judge names too. Throws for one that is denied. */
	decide(source: SourceOp, platform: Platform, rules: SourcePolicies): Promise<SourceOp> {
		const key = JSON.stringify([source.identifier, [...source.attrs], platform, rules.fingerprint]);
		let decision = this.#decisions.get(key);
		if (!decision) this.#decisions.set(key, decision = this.#decide(source, platform, rules));
		return decision;
	}

	async #decide(wanted: SourceOp, platform: Platform, rules: SourcePolicies): Promise<SourceOp> {
		const Platform = platformToPb(platform);
		let source = { ...wanted, identifier: normalized(wanted.identifier) };
		let Source = about(source);
		for (let answers = 0; answers < maxAnswers; answers++) {
			const { result } = await this.check({ Platform, Source, caps: new Map() });
			if (result?.$case === 'request') {
				checkSame(source, result.request.Source);
				Source = { ...await this.#describe(result.request), Source: source };
				continue;
			}
			if (!result) throw new Error('no decision in policy response');
			const { action, update, denyMessages } = result.decision;
			if (action === PolicyAction.ALLOW) return source;
			if (action !== PolicyAction.CONVERT) {
				const name = action === PolicyAction.DENY ? 'DENY' : String(action);
				throw new PolicyDeniedError(`source ${JSON.stringify(source.identifier)} not allowed by policy: action ${name}`, denyMessages.map(({ message }) => message));
			}
			if (!update) throw new Error('convert action requires updated source');
			const converted = rules.apply(update);
			source = { ...converted, identifier: normalized(converted.identifier) };
			Source = about(source);
		}
		throw new Error('too many policy requests');
	}

	async #describe(request: ResolveSourceMetaRequest): Promise<ResolveSourceMetaResponse> {
		try {
			return await this.describe(request);
		} catch (error) {
			throw new Error(`error resolving source metadata from policy request: ${(error as Error).message}`, { cause: error });
		}
	}
}

function about(source: SourceOp): ResolveSourceMetaResponse {
	return { Source: source, Image: undefined, Git: undefined, HTTP: undefined };
}

/** A judge asks about nothing but what it judges. */
function checkSame(source: SourceOp, asked: SourceOp | undefined): void {
	if (asked?.identifier !== source.identifier) throw new Error(`policy requested different source identifier: ${JSON.stringify(asked?.identifier ?? '')} != ${JSON.stringify(source.identifier)}`);
	const same = asked.attrs.size === source.attrs.size && [...source.attrs].every(([key, value]) => asked.attrs.get(key) === value);
	if (!same) throw new Error('policy requested different source attrs');
}
