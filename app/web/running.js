// The one fact that both halves of the page share: whether a run is going.

export const isRunning = () => document.body.dataset.running === 'yes';
