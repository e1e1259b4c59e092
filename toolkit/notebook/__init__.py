"""What a notebook or a schedule needs: parameters, settings, widgets, the runner, the demo."""
