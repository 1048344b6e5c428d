// Signals STOPSIGNAL takes: those of Linux, whatever system this runs on.

const names = new Set(['ABRT', 'ALRM', 'BUS', 'CHLD', 'CLD', 'CONT', 'FPE', 'HUP', 'ILL', 'INT', 'IO', 'IOT', 'KILL', 'PIPE',
	'POLL', 'PROF', 'PWR', 'QUIT', 'SEGV', 'STKFLT', 'STOP', 'SYS', 'TERM', 'TRAP', 'TSTP', 'TTIN', 'TTOU', 'URG', 'USR1',
	'USR2', 'VTALRM', 'WINCH', 'XCPU', 'XFSZ', 'RTMIN', 'RTMAX']);

/** A number other than 0, or a name with or without SIG. */
export function isSignal(text: string): boolean {
	if (/^[+-]?\d+$/.test(text)) return Number(text) !== 0;
	const name = text.toUpperCase().replace(/^SIG/, '');
	const realtime = /^(?:RTMIN\+|RTMAX-)(\d+)$/.exec(name);
	if (realtime) {
		const offset = Number(realtime[1]);
		return String(offset) === realtime[1] && offset >= 1 && offset <= (name.startsWith('RTMIN') ? 15 : 14);
	}
	return names.has(name);
}
