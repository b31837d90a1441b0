// Messages of a run, from the server to the editor.

export function start({ props, watch }) {
  watch('value', () => {
    if (props.value) window.editor?.message(JSON.parse(props.value));
  });
}
