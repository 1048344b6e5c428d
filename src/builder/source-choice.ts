// The sources of a build, as its client's rules and its judge have them.
import { randomUUID } from 'node:crypto';
import type { SourcePolicy } from '../gateway/index.js';
import type { Platform } from '../image/index.js';
import type { SourceOp } from '../llb/index.js';
import type { SourceJudge } from './source-judge.js';
import { SourcePolicies } from './source-policy.js';

export class SourceChoice {
	/** Equal for choices that come to the same; '' for one that leaves every source as it is. */
	readonly fingerprint: string;

	/** Throws for a rule that says nothing. */
	constructor(private readonly rules: SourcePolicies, private readonly judge: SourceJudge | undefined) {
		// What a judge says is for its own build.
		this.fingerprint = judge ? `${rules.fingerprint} ${randomUUID()}` : rules.fingerprint;
	}

	/** With rules of a single request beside the build's. */
	with(others: readonly SourcePolicy[]): SourceChoice {
		return others.length === 0 ? this : new SourceChoice(this.rules.with(others), this.judge);
	}

	/** The source to use in place of one. Throws for one that is denied. */
	async choose(source: SourceOp, platform: Platform): Promise<SourceOp> {
		const allowed = this.rules.apply(source);
		if (!this.judge) return allowed;
		try {
			return await this.judge.decide(allowed, platform, this.rules);
		} catch (error) {
			throw new Error(`error evaluating the source policy: ${(error as Error).message}`, { cause: error });
		}
	}
}
