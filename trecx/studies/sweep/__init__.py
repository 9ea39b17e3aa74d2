"""`trecx sweep`: candidates of taps, method, criterion and price, searched by Optuna on validation answers."""
